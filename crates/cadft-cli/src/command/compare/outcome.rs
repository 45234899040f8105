//! The result of one run.

use super::matrix::Job;
use crate::report;
use anyhow::{Context, Result};
use cadft_train::Summary;
use cadft_train::evaluate::{Answers, EvaluatedSource, Evaluation};
use cadft_train::run_files::METRICS;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The result of one run. All measures of a run that diverged are absent.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Entropy of the final answers to a question.
    pub(super) answer_entropy: Option<[f64; 2]>,
    /// How far planted noise was separated from the rest in the last quarter of the run.
    pub(super) noise_auc: Option<f64>,
    pub(super) noise_recall: Option<f64>,
    /// Where there are several evaluation sources, those of each.
    pub(super) sources: Vec<OfSource>,
}

/// The result on one evaluation source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OfSource {
    pub(super) path: String,
    pub(super) nll: Option<[f64; 2]>,
    pub(super) answers: Option<[f64; 2]>,
    pub(super) pass: Option<[f64; 2]>,
}

/// The `finished` line of `metrics.jsonl`, with the keys that are used here.
#[derive(Deserialize)]
struct Finished {
    interrupted: bool,
    evaluation: Option<[Evaluation; 2]>,
    answers: Option<[Answers; 2]>,
}

impl Outcome {
    /// The result of a run that has just been trained.
    pub(super) fn of(job: &Job, summary: &Summary) -> Self {
        Self::measured(job, summary.evaluation.as_ref(), summary.answers.as_ref())
    }

    fn measured(job: &Job, evaluation: Option<&[Evaluation; 2]>, answers: Option<&[Answers; 2]>) -> Self {
        let evaluation = evaluation.map(<[_; 2]>::each_ref);
        let answers = answers.map(<[_; 2]>::each_ref);
        let noise = report::noise_at_the_end(&job.directory);
        Self {
            nll: evaluation.map(|pair| pair.map(|e| e.nll)),
            token_accuracy: evaluation.map(|pair| pair.map(|e| e.token_accuracy)),
            answers: answers.map(|pair| pair.map(|a| a.accuracy)),
            pass: answers.and_then(|pair| pass(pair.map(|a| &a.pass_at))),
            answer_entropy: answers.and_then(|pair| both(pair.map(|a| a.answer_entropy))),
            noise_auc: noise.map(|[auc, _]| auc),
            noise_recall: noise.map(|[_, recall]| recall),
            sources: evaluation.map_or_else(Vec::new, |pair| by_source(pair, answers)),
            ..Self::diverged(job)
        }
    }

    /// The result of a run whose loss or gradient became NaN or infinite.
    pub(super) fn diverged(job: &Job) -> Self {
        Self {
            cell: job.cell,
            seed: job.seed,
            ..Self::default()
        }
    }
}

fn by_source([before, after]: [&Evaluation; 2], answers: Option<[&Answers; 2]>) -> Vec<OfSource> {
    let likelihoods = before.sources.iter().zip(&after.sources).enumerate();
    let of_source = |(index, (before, after)): (usize, (&EvaluatedSource, &EvaluatedSource))| {
        let answered = |answers: &Answers| {
            answers
                .sources
                .get(index)
                .filter(|own| own.questions > 0)
                .cloned()
        };
        let answered = answers.and_then(|pair| both(pair.map(answered)));
        let answered = answered.as_ref().map(<[_; 2]>::each_ref);
        OfSource {
            path: after.path.clone(),
            nll: Some([before.nll, after.nll]),
            answers: answered.map(|pair| pair.map(|own| own.accuracy)),
            pass: answered.and_then(|pair| pass(pair.map(|own| &own.pass_at))),
        }
    };
    likelihoods.map(of_source).collect()
}

fn both<T>([before, after]: [Option<T>; 2]) -> Option<[T; 2]> {
    Some([before?, after?])
}

/// pass@k before and after, for the largest k above 1.
fn pass(pair: [&BTreeMap<usize, f64>; 2]) -> Option<[f64; 2]> {
    let largest = pair[1].keys().next_back().copied().filter(|&k| k > 1)?;
    both(pair.map(|pass_at| pass_at.get(&largest).copied()))
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
    let finished = finished.filter(|finished| !finished.interrupted);
    Ok(finished
        .map(|finished| Outcome::measured(job, finished.evaluation.as_ref(), finished.answers.as_ref())))
}
