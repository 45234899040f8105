//! The result of one run.

use anyhow::{Context, Result};
use cadft_train::Summary;
use cadft_train::run_files::METRICS;
use serde::Deserialize;
use std::path::Path;

/// The result of one run. All measures of a run that diverged are absent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) objective: String,
    /// NLL before and after training.
    pub(super) nll: Option<[f64; 2]>,
    pub(super) token_accuracy: Option<[f64; 2]>,
    pub(super) answers: Option<[f64; 2]>,
}

/// The `finished` line of `metrics.jsonl`, with the keys that are used here.
#[derive(Deserialize)]
struct Finished {
    interrupted: bool,
    evaluation: Option<[Evaluated; 2]>,
    answers: Option<[Answered; 2]>,
}

#[derive(Deserialize)]
struct Evaluated {
    nll: f64,
    token_accuracy: f64,
}

#[derive(Deserialize)]
struct Answered {
    accuracy: f64,
}

impl Outcome {
    /// The result of a run that has just been trained.
    pub(super) fn of(objective: &str, summary: &Summary) -> Self {
        let evaluation = summary.evaluation.as_ref().map(<[_; 2]>::each_ref);
        Self {
            objective: objective.to_owned(),
            nll: evaluation.map(|pair| pair.map(|e| e.nll)),
            token_accuracy: evaluation.map(|pair| pair.map(|e| e.token_accuracy)),
            answers: (summary.answers.as_ref()).map(|pair| pair.each_ref().map(|a| a.accuracy)),
        }
    }

    /// The result of a run whose loss or gradient became NaN or infinite.
    pub(super) fn diverged(objective: &str) -> Self {
        Self {
            objective: objective.to_owned(),
            nll: None,
            token_accuracy: None,
            answers: None,
        }
    }
}

/// The result of the finished run in `directory`; `None` if it holds no finished run.
pub(super) fn read(objective: &str, directory: &Path) -> Result<Option<Outcome>> {
    let path = directory.join(METRICS);
    if !path.exists() {
        return Ok(None);
    }
    let text = cadft_files::read_to_string(&path).with_context(|| cadft_files::shown(&path).to_string())?;
    let last = text
        .lines()
        .rev()
        .find(|line| line.contains("\"event\":\"finished\""));
    // A last line that is not JSON was truncated when the run was interrupted.
    let finished = last.and_then(|line| serde_json::from_str::<Finished>(line).ok());
    Ok(finished
        .filter(|finished| !finished.interrupted)
        .map(|finished| Outcome {
            objective: objective.to_owned(),
            nll: finished
                .evaluation
                .as_ref()
                .map(|pair| pair.each_ref().map(|e| e.nll)),
            token_accuracy: finished
                .evaluation
                .as_ref()
                .map(|pair| pair.each_ref().map(|e| e.token_accuracy)),
            answers: finished.answers.map(|pair| pair.map(|a| a.accuracy)),
        }))
}
