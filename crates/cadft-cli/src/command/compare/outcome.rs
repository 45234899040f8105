//! What came out of one run.

use anyhow::{Context, Result};
use cadft_train::Summary;
use cadft_train::run_files::METRICS;
use serde::Deserialize;
use std::path::Path;

/// What came out of one run; nothing of one that diverged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) objective: String,
    /// Evaluation before and after training.
    pub(super) nll: Option<[f64; 2]>,
    pub(super) token_accuracy: Option<[f64; 2]>,
    pub(super) answers: Option<[f64; 2]>,
}

/// The `finished` line of `metrics.jsonl`, as far as it is needed here.
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
    /// Of a run that was just trained.
    pub(super) fn of(objective: &str, summary: &Summary) -> Self {
        let evaluation = summary.evaluation.as_ref().map(<[_; 2]>::each_ref);
        Self {
            objective: objective.to_owned(),
            nll: evaluation.map(|pair| pair.map(|e| e.nll)),
            token_accuracy: evaluation.map(|pair| pair.map(|e| e.token_accuracy)),
            answers: (summary.answers.as_ref()).map(|pair| pair.each_ref().map(|a| a.accuracy)),
        }
    }

    /// Of a run whose loss or gradient was no number.
    pub(super) fn diverged(objective: &str) -> Self {
        Self {
            objective: objective.to_owned(),
            nll: None,
            token_accuracy: None,
            answers: None,
        }
    }
}

/// The outcome of a run that is finished in `directory`; `None` if there is no such run.
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
    // A line that cannot be read was cut off with the run.
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
