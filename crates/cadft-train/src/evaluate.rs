//! Evaluation: likelihood of held-out samples, and answers by generation.

mod extract;
mod normalise;
mod number;
mod pass_at;
mod questions;
mod rows;

pub use extract::{BadPattern, Extract, Extractor};
pub use normalise::normalise;
pub use pass_at::pass_at;
pub use questions::{Answered, Answers, OneAnswer, answer_questions, answers_of_run};
pub use rows::kept_rows;

use crate::prepare::EVALUATION_BUCKETING;
use cadft_core::reduction::{mean, sample_scores};
use cadft_core::{linear_argmax, linear_log_probs};
use cadft_data::Example;
use cadft_model::CausalLm;
use cadft_step::MicroBatching;
use cadft_step::batch::GlobalBatch;
use cadft_step::forward::supervised_states;
use serde::{Deserialize, Serialize};

/// Likelihood of a set of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Samples.
    pub samples: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Their supervised tokens.
    pub supervised: usize,
    /// Mean negative log-likelihood over the supervised tokens, nats.
    pub nll: f64,
    /// `exp(nll)`.
    pub perplexity: f64,
    /// Share of the supervised tokens that the model ranks first.
    pub token_accuracy: f64,
}

/// Likelihood of one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleScore {
    /// The row's id.
    pub id: String,
    /// Its tokens.
    pub tokens: usize,
    /// Its supervised tokens.
    pub supervised: usize,
    /// Mean negative log-likelihood over its supervised tokens, nats (CADFT-1).
    pub nll: f64,
    /// Supervised tokens that the model ranks first.
    #[serde(skip)]
    pub correct: usize,
}

/// The score of every sample, in their order; `model` off the autodiff graph.
#[must_use]
pub fn score_samples(model: &CausalLm, examples: &[Example], micro: usize, pad_id: u32) -> Vec<SampleScore> {
    let device = model.device();
    let cut = MicroBatching {
        micro,
        bucketing: EVALUATION_BUCKETING,
        ..MicroBatching::default()
    };
    let all: Vec<&Example> = examples.iter().collect();
    let mut scores: Vec<SampleScore> = examples
        .iter()
        .map(|example| SampleScore {
            id: example.id.clone(),
            tokens: example.token_ids.len(),
            supervised: example.supervised(),
            nll: 0.0,
            correct: 0,
        })
        .collect();
    for micro in GlobalBatch::new(&all, &cut, pad_id, &device).micro {
        let states = supervised_states(model, &micro);
        let (weight, precision) = (model.output_weight(), model.precision());
        let ranked_first =
            linear_argmax(states.clone(), weight.clone(), precision).equal(micro.targets.clone());
        let ranked_first: Vec<i64> = ranked_first.int().into_data().iter().collect();
        let log_probs = linear_log_probs(states, weight, micro.targets.clone(), precision);
        let log_probs: Vec<f32> = log_probs.into_data().iter().collect();
        let nll = sample_scores(&log_probs, &micro.sample_of, micro.samples.len());
        for (&sample, nll) in micro.samples.iter().zip(nll) {
            scores[sample].nll = nll;
        }
        for (&sample, first) in micro.sample_of.iter().zip(ranked_first) {
            scores[micro.samples[sample]].correct += usize::from(first == 1);
        }
    }
    scores
}

/// Summary of a set of scores.
#[must_use]
pub fn summarise(scores: &[SampleScore]) -> Evaluation {
    let supervised = scores.iter().map(|score| score.supervised).sum();
    let sum: f64 = scores
        .iter()
        .map(|score| score.nll * score.supervised as f64)
        .sum();
    let correct: usize = scores.iter().map(|score| score.correct).sum();
    let nll = mean(sum, supervised);
    Evaluation {
        samples: scores.len(),
        tokens: scores.iter().map(|score| score.tokens).sum(),
        supervised,
        nll,
        perplexity: nll.exp(),
        token_accuracy: mean(correct as f64, supervised),
    }
}
