//! Continuing a run: which checkpoint, and whether the settings are still those of it.

use crate::checkpoint::{self, CHECKPOINTS, DataDigests, Restored, rotate};
use crate::config::Recipe;
use crate::error::TrainError;
use crate::plan::Warning;
use crate::prepare::Prepared;
use crate::run_directory::CONFIG;
use cadft_data::Example;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Settings that may differ from those of a checkpoint: the steps that follow are the same.
///
/// `evaluate.every` is one of them, although it decides which evaluations there are to choose the best from. Data files
/// may be elsewhere: their samples are compared.
pub const FREE: [&str; 9] = [
    "run.out",
    "checkpoint",
    "guard",
    "log",
    "evaluate.every",
    "data.train",
    "data.eval",
    "data.cache",
    "model.recompute",
];

/// Where a run goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The run directory that the checkpoint belongs to.
    pub run: PathBuf,
    /// The checkpoint; `None` where the run has none yet and starts again.
    pub checkpoint: Option<Restored>,
    /// What should be known about checkpoints that were passed over.
    pub warnings: Vec<Warning>,
}

impl Found {
    /// The recipe that the run directory says it was started with.
    #[must_use]
    pub fn recipe(run: &Path) -> PathBuf {
        run.join(CONFIG)
    }
}

/// What to do about settings that differ from those of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changes {
    /// Name them and stop.
    #[default]
    Refused,
    /// Go on with the new ones.
    Allowed,
}

/// The newest undamaged checkpoint of the run directory `run`; none where there is no run, or none was written yet.
///
/// # Errors
/// When all checkpoints of the run are damaged.
pub fn newest(run: &Path) -> Result<Found, TrainError> {
    let (checkpoint, damaged) = checkpoint::newest(run)?;
    if checkpoint.is_none() && !damaged.is_empty() {
        let lines: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        return Err(TrainError::Resume {
            message: format!(
                "no checkpoint of `{}` is undamaged:\n{}\nhint: start again with `--out DIR`",
                run.display(),
                lines.join("\n")
            ),
        });
    }
    let warnings = (damaged.iter())
        .map(|error| {
            Warning::new(
                error.to_string(),
                "this checkpoint is passed over; the run goes on from the one before it",
            )
        })
        .collect();
    Ok(Found {
        run: run.to_owned(),
        checkpoint,
        warnings,
    })
}

/// The checkpoint at `path`, or the newest undamaged one of the run directory at `path`.
///
/// # Errors
/// When there is none, and when the one at `path` is damaged: then the newest undamaged one is offered.
pub fn at(path: &Path) -> Result<Found, TrainError> {
    let Some(step) = rotate::step_of(path) else {
        let found = newest(path)?;
        return match &found.checkpoint {
            Some(_) => Ok(found),
            None => Err(TrainError::Resume {
                message: format!(
                    "`{}` holds no checkpoint\nhint: give a run directory, or one of its `{CHECKPOINTS}/step-…`",
                    path.display()
                ),
            }),
        };
    };
    let run = run_of(path)?;
    let error = match checkpoint::open(path) {
        Ok(restored) => {
            return Ok(Found {
                run,
                checkpoint: Some(restored),
                warnings: vec![],
            });
        }
        Err(error) => error,
    };
    let earlier = checkpoint::steps(&run)?
        .into_iter()
        .rev()
        .filter(|&other| other != step);
    let good = earlier
        .map(|step| run.join(CHECKPOINTS).join(checkpoint::name(step)))
        .find(|path| checkpoint::open(path).is_ok());
    let hint = good.map_or_else(
        || "there is no other undamaged checkpoint in this run".to_owned(),
        |good| format!("continue from another one with `--resume {}`", good.display()),
    );
    Err(TrainError::Resume {
        message: format!("{error}\nhint: {hint}"),
    })
}

/// The run directory of a checkpoint, relative where the path is.
pub(crate) fn run_of(checkpoint: &Path) -> Result<PathBuf, TrainError> {
    let above = |path: &Path| {
        let run = path.ancestors().nth(2)?;
        (!run.as_os_str().is_empty()).then(|| run.to_owned())
    };
    if let Some(run) = above(checkpoint) {
        return Ok(run);
    }
    let absolute = std::path::absolute(checkpoint).map_err(TrainError::io(checkpoint))?;
    Ok(above(&absolute).unwrap_or(absolute))
}

/// The settings that a result depends on.
pub(crate) fn settings(recipe: &Recipe) -> Value {
    let mut settings = serde_json::to_value(recipe).unwrap_or_default();
    for key in FREE {
        let mut place = Some(&mut settings);
        let (parents, last) = key.rsplit_once('.').unwrap_or(("", key));
        for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
            place = place.and_then(|table| table.get_mut(parent));
        }
        if let Some(table) = place.and_then(Value::as_object_mut) {
            table.shift_remove(last);
        }
    }
    settings
}

/// SHA-256 of everything about samples that a step or an evaluation can see.
fn data_sha256(samples: impl Iterator<Item = Example>) -> String {
    let mut hash = Sha256::new();
    for example in samples {
        hash.update((example.token_ids.len() as u64).to_le_bytes());
        hash.update(example.weight.to_le_bytes());
        for (id, &trained) in example.token_ids.iter().zip(&example.loss_mask) {
            hash.update(id.to_le_bytes());
            hash.update([u8::from(trained)]);
        }
    }
    checkpoint::hex(&hash.finalize())
}

impl DataDigests {
    pub(crate) fn of(prepared: &Prepared) -> Self {
        Self {
            train: data_sha256(prepared.train.iter()),
            eval: data_sha256(prepared.eval.iter()),
        }
    }
}

/// Refuses, by name, settings that are not those of the checkpoint.
pub(crate) fn check(prepared: &Prepared, device: &str, from: &Restored) -> Result<(), TrainError> {
    let state = &from.state;
    let mut changes = differences(&state.settings, &settings(&prepared.recipe));
    let mut also = |key: &str, before: &str, now: &str| {
        if before != now {
            changes.push(format!("`{key}`: was `{before}`, is `{now}`"));
        }
    };
    also("--device", &state.device, device);
    let data = DataDigests::of(prepared);
    also(
        "data.train (SHA-256 of the samples)",
        &state.data.train,
        &data.train,
    );
    also("data.eval (SHA-256 of the samples)", &state.data.eval, &data.eval);
    if changes.is_empty() {
        return Ok(());
    }
    Err(TrainError::Resume {
        message: format!(
            "the run would not go on as `{}` left it:\n{}\n\
             hint: undo the change, or give `--allow-change` to go on with another result",
            from.path.display(),
            changes.join("\n")
        ),
    })
}

/// A line for every setting that differs.
fn differences(before: &Value, now: &Value) -> Vec<String> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    flatten("", before, &mut old);
    flatten("", now, &mut new);
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let absent = Value::Null;
    keys.into_iter()
        .filter_map(|key| {
            let (before, now) = (old.get(key).unwrap_or(&absent), new.get(key).unwrap_or(&absent));
            (before != now).then(|| format!("`{key}`: was `{before}`, is `{now}`"))
        })
        .collect()
}

/// The leaves of nested tables by dotted key.
fn flatten(prefix: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, leaves);
            }
        }
        None => {
            leaves.insert(prefix.to_owned(), value.clone());
        }
    }
}

/// Refuses to go back in a run that has undamaged checkpoints after `from`: they would be overwritten one by one.
pub(crate) fn refuse_to_go_back(run: &Path, from: &Restored) -> Result<(), TrainError> {
    let later: Vec<PathBuf> = checkpoint::steps(run)?
        .into_iter()
        .filter(|&step| step > from.state.step)
        .map(|step| run.join(CHECKPOINTS).join(checkpoint::name(step)))
        .collect();
    for path in later {
        if checkpoint::open(&path).is_ok() {
            return Err(TrainError::Resume {
                message: format!(
                    "`{}` is later than `{}`\nhint: remove it, or continue into another directory with `--out DIR`",
                    path.display(),
                    from.path.display()
                ),
            });
        }
        // A damaged one would be taken for the newest when old ones are removed.
        checkpoint::durable::set_aside(&path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_settings_are_named_and_free_ones_are_not() {
        let mut recipe = Recipe::default();
        let before = settings(&recipe);
        recipe.run.out = Some("elsewhere".to_owned());
        recipe.checkpoint.keep = 7;
        recipe.evaluate.every = 3;
        recipe.guard.spike = 0.0;
        assert_eq!(differences(&before, &settings(&recipe)), Vec::<String>::new());
        recipe.optimizer.lr = 1.0;
        recipe.schedule.steps = Some(5);
        assert_eq!(
            differences(&before, &settings(&recipe)),
            [
                "`optimizer.lr`: was `0.00005`, is `1.0`",
                "`schedule.steps`: was `null`, is `5`"
            ]
        );
    }
}
