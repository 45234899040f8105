//! The result of one run.

use super::matrix::Job;
use crate::report;
use anyhow::{Context, Result};
use cadft_train::Summary;
use cadft_train::run_files::METRICS;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The result of one run. All measures of a run that diverged are absent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Which of the cells it is of.
    pub(super) cell: usize,
    pub(super) seed: u64,
    /// NLL before and after training.
    pub(super) nll: Option<[f64; 2]>,
    pub(super) token_accuracy: Option<[f64; 2]>,
    /// Share of right answers, which is pass@1.
    pub(super) answers: Option<[f64; 2]>,
    /// pass@k with the most answers that were given.
    pub(super) pass: Option<[f64; 2]>,
    /// How far planted noise was separated from the rest in the last quarter of the run.
    pub(super) noise_auc: Option<f64>,
    pub(super) noise_recall: Option<f64>,
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
    #[serde(default)]
    pass_at: BTreeMap<usize, f64>,
}

impl Outcome {
    /// The result of a run that has just been trained.
    pub(super) fn of(job: &Job, summary: &Summary) -> Self {
        let evaluation = summary.evaluation.as_ref().map(<[_; 2]>::each_ref);
        let answers = summary.answers.as_ref().map(<[_; 2]>::each_ref);
        Self {
            nll: evaluation.map(|pair| pair.map(|e| e.nll)),
            token_accuracy: evaluation.map(|pair| pair.map(|e| e.token_accuracy)),
            answers: answers.map(|pair| pair.map(|a| a.accuracy)),
            pass: answers.and_then(|pair| pass(pair.map(|a| &a.pass_at))),
            ..Self::diverged(job)
        }
        .with_noise(job)
    }

    /// The result of a run whose loss or gradient became NaN or infinite.
    pub(super) fn diverged(job: &Job) -> Self {
        Self {
            cell: job.cell,
            seed: job.seed,
            nll: None,
            token_accuracy: None,
            answers: None,
            pass: None,
            noise_auc: None,
            noise_recall: None,
        }
    }

    fn with_noise(self, job: &Job) -> Self {
        let noise = report::noise_at_the_end(&job.directory);
        Self {
            noise_auc: noise.map(|[auc, _]| auc),
            noise_recall: noise.map(|[_, recall]| recall),
            ..self
        }
    }
}

/// pass@k before and after, for the largest k above 1.
fn pass(pair: [&BTreeMap<usize, f64>; 2]) -> Option<[f64; 2]> {
    let largest = pair[1].keys().next_back().copied().filter(|&k| k > 1)?;
    let [before, after] = pair.map(|pass_at| pass_at.get(&largest).copied());
    Some([before?, after?])
}

/// The outcome of a run that is finished; `None` if there is no such run.
pub(super) fn read(job: &Job) -> Result<Option<Outcome>> {
    let path = job.directory.join(METRICS);
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
    Ok(finished.filter(|finished| !finished.interrupted).map(|finished| {
        let evaluation = finished.evaluation.as_ref().map(<[_; 2]>::each_ref);
        let answers = finished.answers.as_ref().map(<[_; 2]>::each_ref);
        Outcome {
            nll: evaluation.map(|pair| pair.map(|e| e.nll)),
            token_accuracy: evaluation.map(|pair| pair.map(|e| e.token_accuracy)),
            answers: answers.map(|pair| pair.map(|a| a.accuracy)),
            pass: answers.and_then(|pair| pass(pair.map(|a| &a.pass_at))),
            ..Outcome::diverged(job)
        }
        .with_noise(job)
    }))
}
