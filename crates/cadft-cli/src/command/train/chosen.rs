//! The recipe for `--model` and `--data` without a recipe: chosen from the model and the data, with the reasons.
//!
//! All choices are ours. They depend on the longest sequence that the model can take, on its chat template, on the
//! first [`LOOKED_AT`] rows and on the device; never on chance or time.

use crate::args::{AdapterName, DeviceArgs, ShorthandArgs, SourceArgs};
use crate::device;
use crate::hint::UsageError;
use crate::model::{self, Directories};
use crate::recipe::Source;
use anyhow::Result;
use burn::tensor::DType;
use cadft_data::{Content, Mixing, Preset, Tokenizer, rows};
use cadft_model::ModelConfig;
use std::fmt::Write as _;
use std::path::Path;
use toml::Value;

/// Number of rows to look at. Later rows change nothing.
const LOOKED_AT: usize = 10_000;
/// Least number of global batches in an epoch, if the data suffice.
const STEPS_AN_EPOCH: usize = 20;
/// Smallest and largest global batch; the largest is the paper's.
const GLOBAL: [usize; 2] = [8, 256];
/// Longest sample in tokens, if the model can take more.
const LONGEST: usize = 2048;

/// Facts of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rows {
    /// Number of rows, at most [`LOOKED_AT`].
    count: usize,
    /// Whether any row has turns, for which a chat template is needed.
    has_turns: bool,
    /// Whether all rows are plain text, without a prompt.
    is_text: bool,
}

/// The chosen recipe for a model and data.
pub(super) fn recipe(args: &ShorthandArgs, device: &DeviceArgs) -> Result<Source> {
    let (Some(model), false) = (&args.model, args.data.is_empty()) else {
        let missing = if args.model.is_some() {
            "--data FILE"
        } else {
            "--model DIR"
        };
        return Err(UsageError::new(
            format!("there is no recipe, and no `{missing}` to make one for"),
            format!("add `{missing}`, or name a recipe: `cadft recipe list` has some"),
        )
        .into());
    };
    let Directories { base, adapter } = model::directories(model, None)?;
    if let (Some(found), Some(kind)) = (&adapter, args.adapter) {
        return Err(UsageError::new(
            format!(
                "`--model`: `{}` is an adapter, which is trained on as it is: `--adapter {}` would begin another one",
                cadft_files::shown(found),
                kind.name()
            ),
            "leave out `--adapter`, or give the model of the adapter",
        )
        .into());
    }
    let config = ModelConfig::from_file(&base.join("config.json"))?;
    let rows = look_at(&args.data)?;
    let needs_template = rows.has_turns && adapter.is_none();
    let template = needs_template.then(|| template(&base)).flatten();
    let chosen = Chosen {
        model: if adapter.is_some() {
            base.to_string_lossy().into_owned()
        } else {
            model.clone()
        },
        adapter: adapter.as_deref(),
        rows,
        template,
        positions: config.max_position_embeddings,
        is_bf16: computes_in_bf16(device)?,
    };
    Ok(Source::chosen(name(model), chosen.text(args)))
}

/// Everything that the choices depend on.
struct Chosen<'a> {
    model: String,
    adapter: Option<&'a Path>,
    rows: Rows,
    template: Option<Preset>,
    positions: usize,
    is_bf16: bool,
}

impl Chosen<'_> {
    /// The recipe as TOML.
    fn text(&self, args: &ShorthandArgs) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let list = |paths: &[String]| match paths {
            [one] => quoted(one),
            paths => Value::from(paths.to_vec()).to_string(),
        };
        let objective = args.objective.as_deref().unwrap_or("cadft");
        let mut text = format!(
            "# What `cadft train --model … --data …` chose; `cadft train FILE` trains it again.\n\nobjective = {}\n",
            quoted(objective)
        );
        let mut line = |parts: std::fmt::Arguments<'_>| {
            let _ = text.write_fmt(parts);
        };
        line(format_args!("\n[model]\npath = {}\n", quoted(&self.model)));
        if self.is_bf16 {
            line(format_args!(
                "precision = \"bf16\"         # the device has it: half the memory of activations\n"
            ));
        }
        line(format_args!("\n[data]\ntrain = {}\n", list(&args.data)));
        if !args.eval.is_empty() {
            line(format_args!("eval = {}\n", list(&args.eval)));
        }
        line(format_args!(
            "max-length = {}         # tokens; the model can take {}\n",
            LONGEST.min(self.positions),
            self.positions
        ));
        if let Some(template) = self.template {
            line(format_args!(
                "template = \"{template}\"       # the model has no chat template\n"
            ));
        }
        if self.rows.is_text {
            line(format_args!(
                "mask = \"all\"              # the rows are plain text\n"
            ));
        }
        self.adapter(args.adapter, &mut line, &quoted);
        let [global, epochs] = [self.global(), self.epochs()];
        line(format_args!(
            "\n[batch]\nglobal = {global:<15} # samples of one update: {}\n",
            self.rows.described()
        ));
        line(format_args!(
            "micro = {:<16} # samples of one forward pass: memory and speed only\n",
            global.min(4)
        ));
        if objective != "nll" {
            line(format_args!(
                "\n[loss]                    # plain likelihood first: what the model gives little probability, gates hold back\nstart = \"nll\"\nstart-until = 0.2\n"
            ));
        }
        let (lr, why) = if self.adapter.is_some() || args.adapter.is_some() {
            ("2e-4", "the QLoRA paper's")
        } else {
            ("5e-5", "the DFT code's")
        };
        line(format_args!(
            "\n[optimizer]\nlr = {lr:<19} # {why}\n\n[schedule]\n"
        ));
        match (args.steps, args.epochs) {
            (Some(steps), _) => line(format_args!("steps = {steps}\n")),
            (None, Some(epochs)) => line(format_args!("epochs = {epochs:?}\n")),
            (None, None) => line(format_args!("epochs = {epochs}\n")),
        }
        text
    }

    fn adapter(
        &self,
        kind: Option<AdapterName>,
        line: &mut dyn FnMut(std::fmt::Arguments<'_>),
        quoted: &dyn Fn(&str) -> String,
    ) {
        if let Some(path) = self.adapter {
            line(format_args!(
                "\n[adapter]                 # trained on from here\npath = {}\n",
                quoted(&path.to_string_lossy())
            ));
        } else if let Some(kind) = kind {
            line(format_args!(
                "\n[adapter]\nkind = \"{}\"\nrank = 16\nalpha = 32.0\ntarget-modules = \"all-linear\"\n",
                kind.name()
            ));
        }
    }

    /// A power of two within [`GLOBAL`], such that an epoch has about [`STEPS_AN_EPOCH`] steps.
    fn global(&self) -> usize {
        let [least, most] = GLOBAL;
        let wanted = (self.rows.count / STEPS_AN_EPOCH).clamp(least, most);
        let power = 1 << wanted.ilog2();
        power.min(self.rows.count.max(1))
    }

    fn epochs(&self) -> usize {
        if self.rows.count < LOOKED_AT { 3 } else { 1 }
    }
}

impl Rows {
    fn described(self) -> String {
        match self.count {
            LOOKED_AT.. => format!("there are {LOOKED_AT} rows or more"),
            1 => "there is 1 row".to_owned(),
            rows => format!("there are {rows} rows"),
        }
    }
}

/// Looks at the first rows. Errors in them are reported when the run reads them.
fn look_at(data: &[String]) -> Result<Rows> {
    let sources = model::sources(data, &SourceArgs::default())?;
    // A pipe can be read only once.
    let is_pipe = |path: &str| std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    if sources.iter().any(|source| is_pipe(&source.path)) {
        return Ok(Rows::default());
    }
    let mut found = Rows {
        is_text: true,
        ..Rows::default()
    };
    for row in rows(&sources, &Mixing::default())?.take(LOOKED_AT).flatten() {
        found.count += 1;
        found.has_turns |= matches!(row.content, Content::Messages { .. });
        found.is_text &= matches!(row.content, Content::Text(_));
    }
    found.is_text &= found.count > 0;
    Ok(found)
}

/// If the model in `directory` has no chat template: a template that comes with cadft and whose tokens the model has.
fn template(directory: &Path) -> Option<Preset> {
    // Errors of the tokenizer are reported when the run reads it.
    let tokenizer = || Tokenizer::from_dir(directory);
    if tokenizer().ok()?.chat_template().is_ok() {
        return None;
    }
    let fits = |preset: &Preset| {
        tokenizer()
            .and_then(|tokenizer| tokenizer.with_preset(*preset))
            .is_ok()
    };
    Preset::ALL.into_iter().find(fits)
}

/// Whether the device is a GPU that computes in bf16; CPUs emulate it.
fn computes_in_bf16(device: &DeviceArgs) -> Result<bool> {
    let name = device::name(device.device.as_deref());
    let is_card = ["cuda", "rocm", "metal"]
        .iter()
        .any(|card| name.starts_with(card));
    Ok(is_card && device::open(name)?.supports_dtype(DType::BF16))
}

/// The name of the run: the last part of the model's name.
fn name(model: &str) -> String {
    let path = model.trim_end_matches('/');
    let mut parts = path
        .split(['/', ':', '@'])
        .filter(|part| !matches!(*part, "model" | "." | ".." | ""));
    let last = parts.next_back().unwrap_or("model");
    last.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadft_train::config;

    fn chosen(count: usize) -> Chosen<'static> {
        Chosen {
            model: "m".to_owned(),
            adapter: None,
            rows: Rows {
                count,
                has_turns: true,
                is_text: false,
            },
            template: None,
            positions: 4096,
            is_bf16: false,
        }
    }

    fn given() -> ShorthandArgs {
        ShorthandArgs {
            model: Some("m".to_owned()),
            data: vec!["a \"quoted\".jsonl".to_owned()],
            ..ShorthandArgs::default()
        }
    }

    #[test]
    fn what_is_chosen_is_a_recipe_for_any_number_of_rows() {
        for (rows, global, epochs) in [
            (0, 1, 3),
            (3, 3, 3),
            (100, 8, 3),
            (1000, 32, 3),
            (9_000, 256, 3),
            (10_000, 256, 1),
        ] {
            let text = chosen(rows).text(&given());
            let recipe =
                config::parse("chosen", &text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(
                (recipe.batch.global, recipe.schedule.epochs),
                (global, Some(f64::from(epochs))),
                "{rows}"
            );
            assert_eq!(recipe.data.train, ["a \"quoted\".jsonl".into()]);
            assert_eq!(recipe.objective.name(), "cadft");
            assert_eq!(recipe.data.max_length, 2048);
        }
    }

    #[test]
    fn what_is_given_and_found_is_in_the_recipe() {
        let chosen = Chosen {
            template: Some(Preset::ChatMl),
            positions: 512,
            is_bf16: true,
            rows: Rows {
                count: 50,
                has_turns: false,
                is_text: true,
            },
            ..chosen(50)
        };
        let args = ShorthandArgs {
            eval: vec!["e".to_owned(), "f".to_owned()],
            adapter: Some(AdapterName::Dora),
            objective: Some("nll".to_owned()),
            steps: Some(3),
            ..given()
        };
        let text = chosen.text(&args);
        let recipe = config::parse("chosen", &text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!((recipe.schedule.steps, recipe.schedule.epochs), (Some(3), None));
        assert_eq!((recipe.data.eval.len(), recipe.data.max_length), (2, 512));
        assert_eq!((recipe.optimizer.lr, recipe.loss.start), (2e-4, None));
        assert!(
            recipe.adapter.is_some() && recipe.data.template == Some(Preset::ChatMl),
            "{text}"
        );
    }

    #[test]
    fn an_adapter_is_trained_on() {
        let chosen = Chosen {
            adapter: Some(Path::new("runs/a/model")),
            ..chosen(50)
        };
        let recipe = config::parse("chosen", &chosen.text(&given()), &[]).unwrap();
        assert_eq!(recipe.adapter.unwrap().path.as_deref(), Some("runs/a/model"));
    }

    #[test]
    fn a_run_is_called_after_its_model() {
        for (model, called) in [
            ("models/smol/", "smol"),
            ("hf://org/name@main", "main"),
            ("runs/a/model", "a"),
            (".", "model"),
            ("embedded:quickstart", "quickstart"),
        ] {
            assert_eq!(name(model), called, "{model}");
        }
    }
}
