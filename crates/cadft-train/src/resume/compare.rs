//! Compares everything that the result of a run depends on with a checkpoint.

mod completed;

use crate::change::Change;
use crate::checkpoint::{DataDigests, Restored};
use crate::config::{Recipe, is_member};
use crate::dotted;
use crate::error::TrainError;
use crate::inputs::{ADAPTER, Inputs, REFERENCE, WEIGHTS};
use crate::prepare::Prepared;
use crate::run_files::CONFIG;
use crate::warning::Warning;
use cadft_model::ModelConfig;
use completed::completed;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

/// Recipe keys that may differ from those of a checkpoint, because the steps do not depend on them. Each has its
/// reason.
pub const FREE: [(&str, &str); 22] = [
    (
        "format-version",
        "how the recipe is written; there is one version",
    ),
    ("run.out", "where the files of the run are"),
    ("run.patience", "how long ranks wait for each other"),
    ("model.path", "where the model is; its files are compared"),
    (
        "adapter.path",
        "where the adapter is that is trained on from; its files are compared",
    ),
    (
        "reference.model",
        "where the frozen model is; its files are compared",
    ),
    (
        "reference.live",
        "when the frozen model is asked; its answers are the same",
    ),
    ("model.recompute", "the same gradients with less memory"),
    ("data.train", "where the data are; the samples are compared"),
    (
        "data.eval",
        "where the data are; samples and questions are compared",
    ),
    ("data.cache", "where tokens are kept; the samples are compared"),
    (
        "evaluate.every",
        "how often is looked, and so which evaluations there are to choose the best from",
    ),
    ("checkpoint.every", "how often is saved"),
    ("checkpoint.every-minutes", "how often is saved"),
    ("checkpoint.keep", "how many checkpoints are kept"),
    ("checkpoint.dtype", "how the model is stored; training keeps f32"),
    ("guard.non-finite", "when the run gives up"),
    ("guard.spike", "when a warning is given"),
    ("guard.memory", "whether the run starts"),
    ("guard.memory-of", "whether the run starts"),
    ("log.tensorboard", "what is logged besides"),
    ("log.samples", "what is logged besides"),
];

/// The comparison of a run with the checkpoint that it continues from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Differences.
    pub changes: Vec<Change>,
    /// Facts that an older release did not record, which cannot be compared.
    pub unknown: Vec<String>,
}

impl Comparison {
    /// Refuses all changes, and lists them.
    ///
    /// # Errors
    /// [`TrainError::Resume`] if anything changed.
    pub fn refuse_changes(&self, from: &Restored) -> Result<(), TrainError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> = self.changes.iter().map(ToString::to_string).collect();
        lines.extend(self.warning().map(|warning| warning.message));
        let remedy = match self.own_objective() {
            Some(name) => format!("continue it with the program that has the objective `{name}`"),
            None => "undo the change".to_owned(),
        };
        Err(TrainError::resume(
            format!(
                "the run would not go on as `{}` left it:\n{}",
                cadft_files::shown(&from.path),
                lines.join("\n")
            ),
            format!("{remedy}, or give `--allow-change` to go on with another result"),
        ))
    }

    /// The name of the checkpoint's objective, if it changed and recipes cannot name it.
    fn own_objective(&self) -> Option<&str> {
        let changed = self.changes.iter().find(|change| change.key == "objective")?;
        changed.was.as_str().filter(|name| !is_member(name))
    }

    /// A warning about the comparison, if there is one.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        if self.unknown.is_empty() {
            return None;
        }
        Some(Warning::new(
            format!(
                "the checkpoint does not say what these were, so that they cannot be compared: {}",
                self.unknown.join(", ")
            ),
            "an older release wrote it; make sure yourself that they are the same",
        ))
    }
}

/// Compares a run with the checkpoint `from`; `device` is the name of the device.
#[must_use]
pub fn compare(prepared: &Prepared, device: &str, from: &Restored) -> Comparison {
    let state = &from.state;
    let mut found = Comparison::default();
    settings_differ(&state.settings, &prepared.recipe, &mut found);
    if state.device != device {
        found
            .changes
            .push(Change::new("--device", state.device.as_str(), device));
    }
    data_differ(&state.data, &DataDigests::of(prepared), &mut found);
    let time = prepared.plan.template_time;
    match (state.template_time, time) {
        (Some(was), Some(is)) if was != is => {
            let key = "the time of the chat template";
            found
                .changes
                .push(Change::new(key, was.to_string(), is.to_string()));
        }
        (None, Some(_)) => found
            .unknown
            .push("the date that the chat template wrote".to_owned()),
        _ => {}
    }
    match &state.inputs {
        Some(inputs) => {
            let before = found.changes.len();
            inputs_differ(inputs, &prepared.inputs(), &mut found);
            // Digests alone say little to the reader.
            if let Some(was) = model_path(&from.path).filter(|_| found.changes.len() > before) {
                path_differs(&was, &prepared.recipe, &mut found);
            }
        }
        None => {
            let what = [
                "the weights",
                "`config.json`",
                "the tokenizer",
                "the chat template",
            ];
            found
                .unknown
                .extend(what.map(|what| format!("{what} of the model")));
            if !prepared.questions.is_empty() {
                found.unknown.push("the questions of `data.eval`".to_owned());
            }
            if let Some(was) = state.settings["model"]["path"].as_str() {
                path_differs(was, &prepared.recipe, &mut found);
            }
        }
    }
    found
}

fn data_differ(was: &DataDigests, is: &DataDigests, found: &mut Comparison) {
    let mut compare = |key: &str, was: &str, is: &str| {
        if was != is {
            found.changes.push(Change::new(key, was, is));
        }
    };
    compare("data.train (SHA-256 of the samples)", &was.train, &is.train);
    compare("data.eval (SHA-256 of the samples)", &was.eval, &is.eval);
    // If only one of the two asks questions, `evaluate.answers` differs already.
    if let (Some(was), Some(is)) = (&was.questions, &is.questions) {
        compare("data.eval (SHA-256 of the questions)", was, is);
    }
}

fn inputs_differ(was: &Inputs, is: &Inputs, found: &mut Comparison) {
    let before = found.changes.len();
    for (name, now) in &is.digests {
        match was.digests.get(name) {
            Some(then) if then == now => {}
            Some(then) => found
                .changes
                .push(Change::new(title(name), then.as_str(), now.as_str())),
            None => found.unknown.push(title(name)),
        }
    }
    for (name, then) in was
        .digests
        .iter()
        .filter(|(name, _)| !is.digests.contains_key(*name))
    {
        found
            .changes
            .push(Change::new(title(name), then.as_str(), Value::Null));
    }
    config_differs(&was.config, &is.config, found);
    if found.changes.len() > before && was.commit != is.commit {
        let change = Change::new(
            "model.path (commit on the Hub)",
            was.commit.clone(),
            is.commit.clone(),
        );
        found.changes.push(change);
    }
}

/// The name of a digest in messages.
fn title(name: &str) -> String {
    match name {
        WEIGHTS => "model.path (SHA-256 of the weights)".to_owned(),
        ADAPTER => "adapter.path (SHA-256 of its files)".to_owned(),
        REFERENCE => "reference.model (SHA-256 of its files)".to_owned(),
        name => format!("model.path ({name})"),
    }
}

/// Lists the keys of `config.json` that differ and affect the computation.
fn config_differs(was: &Map<String, Value>, is: &Map<String, Value>, found: &mut Comparison) {
    let config = |object: &Map<String, Value>| ModelConfig::try_from(object.clone()).ok();
    let (then, now) = (config(was), config(is));
    if then.is_some_and(|then| now.is_some_and(|now| then.computes_as(&now))) {
        return;
    }
    let differ = differences(&Value::Object(was.clone()), &Value::Object(is.clone()));
    (found.changes).extend(differ.into_iter().map(|change| Change {
        key: format!("config.json: {}", change.key),
        ..change
    }));
}

/// The settings of a recipe that a checkpoint records: those that the result depends on.
pub(crate) fn settings(recipe: &Recipe) -> Value {
    let mut settings = serde_json::to_value(recipe).unwrap_or_default();
    for (key, _) in FREE {
        dotted::take(&mut settings, key);
    }
    settings
}

/// Compares recipes as parsed values, so that spelling does not matter.
fn settings_differ(was: &Value, now: &Recipe, found: &mut Comparison) {
    let is = serde_json::to_value(now).unwrap_or_default();
    let mut was = was.clone();
    if was.get("checkpoint").is_none() {
        found.unknown.push("`checkpoint.best`".to_owned());
        dotted::put(&mut was, "checkpoint", is["checkpoint"].clone());
    }
    for (key, _) in FREE {
        if let Some(value) = is.pointer(&format!("/{}", key.replace('.', "/"))) {
            dotted::put(&mut was, key, value.clone());
        }
    }
    let Some(was) = completed(&was, now) else {
        return;
    };
    let changes = differences(&was, &is);
    if changes.is_empty() {
        found.changes.push(Change::new("the recipe", was, is));
    }
    found.changes.extend(changes);
}

/// The path of the model in the recipe of the run that has this checkpoint.
fn model_path(checkpoint: &Path) -> Option<String> {
    let run = checkpoint.parent()?.parent()?;
    let text = cadft_files::read_to_string(&run.join(CONFIG)).ok()?;
    let recipe: toml::Table = toml::from_str(&text).ok()?;
    Some(recipe.get("model")?.get("path")?.as_str()?.to_owned())
}

/// Compares the model's path, if its files differ, or the checkpoint records nothing else about it. The same directory may be
/// spelled in several ways.
fn path_differs(was: &str, recipe: &Recipe, found: &mut Comparison) {
    let is = recipe.model.path.as_str();
    let plain = |path| -> Vec<_> {
        let components = Path::new(path).components();
        components.filter(|part| *part != Component::CurDir).collect()
    };
    let real = |path| fs::canonicalize(path).ok();
    let is_same = plain(was) == plain(is) || real(was).is_some_and(|was| real(is) == Some(was));
    if !is_same {
        found.changes.push(Change::new("model.path", was, is));
    }
}

/// Keys whose value is a table with one key: the name of the chosen member.
const CHOICES: [&str; 2] = ["objective", "loss.start"];

/// A change for every value that differs.
fn differences(was: &Value, is: &Value) -> Vec<Change> {
    let (mut old, mut new) = (dotted::flatten(was), dotted::flatten(is));
    let mut changes = vec![];
    for key in CHOICES {
        let [then, now] = [&old, &new].map(|leaves| chosen(leaves, key));
        if then != now {
            // Do not list the settings of the two members as changes.
            old.retain(|leaf, _| !is_below(leaf, key));
            new.retain(|leaf, _| !is_below(leaf, key));
            changes.push(Change::new(key, then, now));
        }
    }
    let others = dotted::differences(&old, &new).into_iter();
    changes.extend(others.map(|(key, [was, is])| Change::new(key, was, is)));
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

/// Whether `leaf` is `key` or below it.
fn is_below(leaf: &str, key: &str) -> bool {
    leaf.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The name of the chosen member.
fn chosen(leaves: &BTreeMap<String, Value>, key: &str) -> Option<String> {
    let leaf = leaves.keys().find(|leaf| is_below(leaf, key))?;
    let rest = leaf.strip_prefix(key)?.trim_start_matches('.');
    Some(rest.split('.').next().unwrap_or(rest).to_owned())
}

#[cfg(test)]
mod tests;
