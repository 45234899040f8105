//! Opens a model directory for evaluation and generation.

use crate::args::{DeviceArgs, InputArgs, SamplingArgs, ScoringArgs, SourceArgs};
use crate::console::{Activity, counted};
use crate::hint::{self, UsageError};
use crate::{assets, device};
use anyhow::Result;
use burn::tensor::Device;
use cadft_data::{Columns, Part, Report, Samples, Source, Tokenizer};
use cadft_model::adapter::{self, ADAPTER_CONFIG, BaseModel};
use cadft_model::{CausalLm, GenerateOptions, ModelConfig, checkpoint};
use cadft_train::config::DataSection;
use cadft_train::data::{SampleReader, adapted_tokenizer, on_disk};
use cadft_train::prepare::computing_as;
use cadft_train::{Warning, hub, instead_of_model, memory, model_of};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A model with its tokenizer.
pub(crate) struct OpenModel {
    pub(crate) model: CausalLm,
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Tokenizer,
}

impl OpenModel {
    /// Loads a Hugging Face directory onto a device, and merges an adapter if one is given.
    ///
    /// The directory may also be that of a PEFT adapter, which names its model, or that of a run.
    pub(crate) fn open(path: &str, adapter: Option<&Path>, device: &DeviceArgs) -> Result<Self> {
        let Directories {
            base: directory,
            adapter,
        } = directories(path, adapter)?;
        let device = device::open(device::name(device.device.as_deref()))?;
        let tokenizer = match &adapter {
            Some(adapter) => adapted_tokenizer(&directory, adapter)?,
            None => Tokenizer::from_dir(&directory)?,
        };
        check_weights(&directory, &device)?;
        let _loading = Activity::begin("loading the model");
        let checkpoint = checkpoint::load(&directory, &device)?;
        if let Some(warning) = Warning::of_model(&checkpoint.config) {
            hint::warn(&warning);
        }
        let (model, config) = match adapter {
            Some(adapter) => {
                let adapted = adapter::load(&adapter, checkpoint.model, &checkpoint.config)
                    .map_err(|error| error.on_model(&directory))?;
                (adapted.model.merge_adapter(), adapted.config)
            }
            None => (checkpoint.model, checkpoint.config),
        };
        Ok(Self {
            model,
            config,
            tokenizer,
        })
    }

    /// The options for generation, with `batch` sequences at a time. Warns if only the length limit can end an answer.
    pub(crate) fn options(&self, args: &SamplingArgs, batch: usize) -> GenerateOptions {
        let mut stop_token_ids = self.tokenizer.stop_token_ids().to_vec();
        stop_token_ids.extend(args.stop.iter().filter_map(|text| self.tokenizer.token_id(text)));
        if stop_token_ids.is_empty() && args.stop.is_empty() {
            hint::warn(&Warning {
                message: format!(
                    "the model names no stop token: every answer is {} long",
                    counted(args.max_new_tokens, "token")
                ),
                hint: "name a text that ends answers with `--stop TEXT`, or set `eos_token_id` in \
                       `generation_config.json`"
                    .to_owned(),
            });
        }
        GenerateOptions {
            max_new_tokens: args.max_new_tokens,
            max_positions: self.config.max_position_embeddings,
            stop_token_ids,
            sampling: args.sampling(),
            batch,
        }
    }
}

/// Number of samples in a forward pass, unless an argument or a recipe sets it.
const MICRO: usize = 8;

/// A model, and how to read rows for it.
pub(crate) struct OpenInput {
    pub(crate) model: CausalLm,
    pub(crate) config: ModelConfig,
    /// Converts rows to samples.
    pub(crate) reader: SampleReader,
    /// The settings of `reader`, as in a recipe; `data.train` holds the sources of `--data`.
    pub(crate) data: DataSection,
    /// Number of samples in a forward pass.
    pub(crate) micro: usize,
}

impl OpenInput {
    /// Loads a model as [`OpenModel::open`]; `scoring` says how rows become tokens.
    pub(crate) fn open(input: &InputArgs, scoring: &ScoringArgs) -> Result<Self> {
        let ScoringArgs {
            micro,
            tokens,
            device,
        } = scoring;
        let sources = sources(&input.data, &input.source)?;
        // Report errors in the recipe before reading the model.
        let _ = tokens.recipe(usize::MAX)?;
        let opened = OpenModel::open(&input.model, input.adapter.as_deref(), device)?;
        let mut recipe = tokens.recipe(opened.config.max_position_embeddings)?;
        recipe.data.train = sources;
        recipe.data.eval = vec![];
        // The last digit of a score depends on the other samples of its forward pass, so `micro` is the recipe's.
        let (model, default) = match &tokens.recipe {
            Some(_) => (computing_as(&recipe, opened.model)?, recipe.batch.micro),
            None => (opened.model, MICRO),
        };
        Ok(Self {
            model,
            config: opened.config,
            reader: SampleReader::new(&recipe, opened.tokenizer)?,
            data: recipe.data,
            micro: micro.unwrap_or(default),
        })
    }

    /// The samples of `--data`. Warns about samples that were cut or left out.
    pub(crate) fn samples(&self) -> Result<Samples> {
        let reading = Activity::begin("reading and tokenising the data");
        let samples = self.reader.samples(&self.data.train, &self.config)?;
        drop(reading);
        warn_about(samples.report(), self.data.max_length);
        Ok(samples)
    }
}

/// Refuses a model whose weights do not fit into memory, before they are read.
pub(crate) fn check_weights(directory: &Path, device: &Device) -> Result<()> {
    let config = ModelConfig::from_file(&directory.join("config.json"))?;
    Ok(memory::check_weights(&config, directory, device)?)
}

/// The directories of a model and of its adapter.
pub(crate) struct Directories {
    pub(crate) base: PathBuf,
    pub(crate) adapter: Option<PathBuf>,
}

/// The directories of a model and of its adapter. Either path may be a run; the model's path may be an adapter, which
/// names its model.
pub(crate) fn directories(path: &str, adapter: Option<&Path>) -> Result<Directories> {
    let found = directory(path)?;
    let adapter = adapter.map(adapter_directory).transpose()?;
    if !is_adapter(&found) {
        return Ok(Directories { base: found, adapter });
    }
    if adapter.is_some() {
        return Err(UsageError::new(
            format!("`--model`: `{}` is an adapter itself", cadft_files::shown(&found)),
            "give its model with `--model` and the adapter with `--adapter`",
        )
        .into());
    }
    let (_, base) = adapter::read_config(&found)?;
    let Some(base) = base else {
        return Err(UsageError::new(
            format!("`{}` does not name its model", cadft_files::shown(&found)),
            "give the model with `--model` and this directory with `--adapter`",
        )
        .into());
    };
    Ok(Directories {
        base: base_of(&found, &base)?,
        adapter: Some(found),
    })
}

/// The tokenizer of a model, or of an adapter.
pub(crate) fn tokenizer(path: &str, adapter: Option<&Path>) -> Result<Tokenizer> {
    let Directories { base, adapter } = directories(path, adapter)?;
    Ok(match &adapter {
        Some(adapter) => adapted_tokenizer(&base, adapter)?,
        None => Tokenizer::from_dir(&base)?,
    })
}

/// Whether a directory holds an adapter, but no model.
pub(crate) fn is_adapter(directory: &Path) -> bool {
    directory.join(ADAPTER_CONFIG).is_file()
}

/// The directory of an adapter; `given` may be a run.
fn adapter_directory(given: &Path) -> Result<PathBuf> {
    let found = of_run("--adapter", given)?;
    if is_adapter(&found) {
        return Ok(found);
    }
    Err(UsageError::new(
        format!(
            "`--adapter`: `{}` holds no `{ADAPTER_CONFIG}`",
            cadft_files::shown(&found)
        ),
        "give the directory of a PEFT adapter, or of a run that trained one",
    )
    .into())
}

/// The directory itself or, if it is a run, the directory of its model or adapter.
fn of_run(option: &str, directory: &Path) -> Result<PathBuf> {
    model_of(directory).ok_or_else(|| {
        UsageError::new(
            format!(
                "`{option}`: the run `{}` has no model yet",
                cadft_files::shown(&directory)
            ),
            format!(
                "train it to its first checkpoint: `cadft train --resume {}`",
                cadft_files::shown(&directory)
            ),
        )
        .into()
    })
}

/// The directory of the model that an adapter names. As in PEFT, a relative path is resolved from the current
/// directory; if it does not exist there, from the adapter's directory.
fn base_of(adapter: &Path, base: &BaseModel) -> Result<PathBuf> {
    let beside = adapter.join(&base.name);
    if !Path::new(&base.name).is_dir() && beside.is_dir() {
        return Ok(beside);
    }
    let path = base.path();
    if hub::Spec::parse(&path)?.is_some() || Path::new(&path).is_dir() || assets::resolve(&path)? != path {
        return directory(&path);
    }
    Err(UsageError::new(
        format!(
            "`{}` belongs to the model `{path}`, which is no directory, neither from here nor from the adapter's",
            cadft_files::shown(&adapter)
        ),
        "give the model with `--model` and the adapter with `--adapter`; a model of the Hub is `hf://OWNER/NAME`",
    )
    .into())
}

/// The directory of a model on disk. `path` may also name a model on the Hub, or a run.
pub(crate) fn directory(path: &str) -> Result<PathBuf> {
    let directory = of_run("--model", &hub::resolve(&assets::resolve(path)?)?)?;
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(UsageError::new(
        format!(
            "`--model`: `{}` is not a directory",
            cadft_files::shown(&directory)
        ),
        instead_of_model(&directory),
    )
    .into())
}

/// The sources of `--data`, on disk.
pub(crate) fn sources<'a>(
    paths: impl IntoIterator<Item = &'a String>,
    args: &SourceArgs,
) -> Result<Vec<Source>> {
    let pairs = args.columns.iter().map(String::as_str);
    let columns = Columns::parse(pairs).map_err(|message| {
        let hint = "for example `--columns instruction=question,output=answer`";
        UsageError::new(format!("`--columns`: {message}"), hint)
    })?;
    let source = |path: &String| {
        Ok(Source {
            path: assets::resolve(path)?,
            format: args.format.map(Into::into),
            columns: columns.clone(),
            weight: None,
            split: args.split.clone(),
            config: args.config.clone(),
        })
    };
    let sources: Vec<_> = paths.into_iter().map(source).collect::<Result<_>>()?;
    Ok(on_disk(&sources)?)
}

/// Warns about parts of rows that the chat template omits, with the number of rows.
pub(crate) fn warn_about_lost(lost: &BTreeMap<Part, usize>, rows: usize) {
    for (part, &count) in lost {
        let (message, hint) = part.warning(count, rows);
        let hint = hint.to_owned();
        hint::warn(&Warning { message, hint });
    }
}

/// Warns about samples that were cut or left out, and about parts of them that are not shown.
pub(crate) fn warn_about(report: &Report, max_length: usize) {
    warn_about_lost(&report.lost, report.rows);
    if report.truncated > 0 {
        hint::warn(&Warning {
            message: format!(
                "{} of {} cut to {max_length} tokens",
                report.truncated,
                counted(report.rows, "sample")
            ),
            hint: "what was cut off is not looked at".to_owned(),
        });
    }
    for dropped in report.dropped.iter().take(5) {
        hint::warn(&Warning {
            message: format!(
                "sample `{}` (line {}) is left out: {}",
                dropped.id, dropped.line, dropped.reason
            ),
            hint: format!(
                "left out: {} of {}",
                report.dropped.len(),
                counted(report.rows, "sample")
            ),
        });
    }
}
