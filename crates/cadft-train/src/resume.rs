//! Finds the checkpoint that a run continues from, and compares the run with it.

mod compare;

pub use crate::change::{Change, Segment};
pub(crate) use compare::settings;
pub use compare::{Comparison, FREE, compare};

use crate::checkpoint::{self, DataDigests, Restored, rotate};
use crate::data::Question;
use crate::error::TrainError;
use crate::prepare::Prepared;
use crate::run_files::{CHECKPOINTS, CONFIG};
use crate::warning::Warning;
use cadft_data::Example;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Where a run continues.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The run directory that the checkpoint belongs to.
    pub run: PathBuf,
    /// The checkpoint; `None` if the run has none yet and starts again.
    pub checkpoint: Option<Restored>,
    /// Warnings about checkpoints that were skipped.
    pub warnings: Vec<Warning>,
}

impl Found {
    /// The path of the recipe in a run directory.
    #[must_use]
    pub fn recipe(run: &Path) -> PathBuf {
        run.join(CONFIG)
    }
}

/// What to do about settings that differ from those of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changes {
    /// List them and stop.
    #[default]
    Refused,
    /// Continue with the new settings.
    Allowed,
}

/// The newest undamaged checkpoint of the run directory `run`. It is `None` if there is no run or no checkpoint.
///
/// # Errors
/// If all checkpoints of the run are damaged.
pub fn newest(run: &Path) -> Result<Found, TrainError> {
    let (checkpoint, damaged) = checkpoint::newest(run)?;
    if checkpoint.is_none() && !damaged.is_empty() {
        let lines: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        return Err(TrainError::resume(
            format!(
                "no checkpoint of `{}` is undamaged:\n{}",
                cadft_files::shown(&run),
                lines.join("\n")
            ),
            "start again with `--out DIR`",
        ));
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

/// The checkpoint at `path` or, if `path` is a run directory, its newest undamaged one.
///
/// # Errors
/// If there is none, or if the one at `path` is damaged; the hint then names the newest undamaged one.
pub fn at(path: &Path) -> Result<Found, TrainError> {
    let Some(step) = rotate::step_of(path) else {
        let found = newest(path)?;
        return match &found.checkpoint {
            Some(_) => Ok(found),
            None => Err(TrainError::resume(
                format!("`{}` holds no checkpoint", cadft_files::shown(&path)),
                format!("give a run directory, or one of its `{CHECKPOINTS}/step-…`"),
            )),
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
        |good| {
            format!(
                "continue from another one with `--resume {}`",
                cadft_files::shown(&good)
            )
        },
    );
    Err(TrainError::resume(error.to_string(), hint))
}

/// The run directory of a checkpoint; a relative path if `checkpoint` is relative.
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

/// SHA-256 of all parts of samples that a step or an evaluation uses.
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
    /// That of the training samples alone.
    pub(crate) fn train_of(prepared: &Prepared) -> String {
        data_sha256(prepared.train.iter())
    }

    pub(crate) fn of(prepared: &Prepared) -> Self {
        Self {
            train: Self::train_of(prepared),
            eval: data_sha256(prepared.eval.iter()),
            questions: questions_sha256(&prepared.questions),
        }
    }
}

impl Prepared {
    /// A digest of what an evaluation reads besides the recipe: its samples and questions, and the model. Waits for the digests of
    /// the weights, which [`Prepared::model`] starts.
    #[must_use]
    pub fn evaluation_digest(&self) -> String {
        let parts = json!({
            "eval": data_sha256(self.eval.iter()),
            "questions": questions_sha256(&self.questions),
            "inputs": self.inputs(),
        });
        checkpoint::hex(&Sha256::digest(parts.to_string().as_bytes()))
    }
}

/// SHA-256 of the questions and their answers; `None` if there are no questions.
fn questions_sha256(questions: &[Question]) -> Option<String> {
    let mut hash = Sha256::new();
    for Question {
        prompt_ids, answer, ..
    } in questions
    {
        hash.update((prompt_ids.len() as u64).to_le_bytes());
        prompt_ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        hash.update((answer.len() as u64).to_le_bytes());
        hash.update(answer);
    }
    (!questions.is_empty()).then(|| checkpoint::hex(&hash.finalize()))
}

/// Refuses to continue from `from` if the run has undamaged later checkpoints: they would be overwritten one by one.
pub(crate) fn refuse_to_go_back(run: &Path, from: &Restored) -> Result<(), TrainError> {
    let later: Vec<PathBuf> = checkpoint::steps(run)?
        .into_iter()
        .filter(|&step| step > from.state.step)
        .map(|step| run.join(CHECKPOINTS).join(checkpoint::name(step)))
        .collect();
    for path in later {
        if checkpoint::open(&path).is_ok() {
            return Err(TrainError::resume(
                format!(
                    "`{}` is later than `{}`",
                    cadft_files::shown(&path),
                    cadft_files::shown(&from.path)
                ),
                "remove it, or continue into another directory with `--out DIR`",
            ));
        }
        // A damaged checkpoint would count as the newest when old ones are removed.
        checkpoint::durable::set_aside(&path)?;
    }
    Ok(())
}
