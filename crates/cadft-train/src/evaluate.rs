//! Evaluation: the likelihood of held-out samples, and answers by generation.

mod extract;
mod normalise;
mod number;
mod pass_at;
mod questions;

pub use cadft_step::score::{SampleScore, score_samples, score_samples_on, score_samples_watched};
pub use extract::{BadPattern, Extract, Extractor};
pub use normalise::normalise;
pub use pass_at::pass_at;
pub use questions::{
    Answered, AnsweredSource, Answers, OneAnswer, answer_questions, answer_questions_watched,
};

use cadft_core::reduction::mean;
use cadft_data::Source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;

/// Likelihood of a set of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The same for the samples of each source, if there are several sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<EvaluatedSource>,
}

/// Likelihood of the samples of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluatedSource {
    /// The path of the source, as the recipe has it.
    pub path: String,
    /// Samples.
    pub samples: usize,
    /// Their supervised tokens.
    pub supervised: usize,
    /// Mean negative log-likelihood over the supervised tokens, nats.
    pub nll: f64,
    /// Share of the supervised tokens that the model ranks first.
    pub token_accuracy: f64,
}

/// The evaluation before the first step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Likelihood of the evaluation samples.
    pub evaluation: Option<Evaluation>,
    /// Answers to the questions.
    pub answers: Option<Answers>,
}

/// The likelihood of a set of scored samples, and that of the samples of each source if there are several.
#[must_use]
pub fn summarise_by_source(scores: impl IntoIterator<Item = SampleScore>, sources: &[Source]) -> Evaluation {
    if sources.len() < 2 {
        return summarise(scores);
    }
    let scores: Vec<SampleScore> = scores.into_iter().collect();
    let of_source = |(index, source): (usize, &Source)| {
        let own = summarise(scores.iter().filter(|score| score.origin.source == index));
        EvaluatedSource {
            path: source.path.clone(),
            samples: own.samples,
            supervised: own.supervised,
            nll: own.nll,
            token_accuracy: own.token_accuracy,
        }
    };
    Evaluation {
        sources: sources.iter().enumerate().map(of_source).collect(),
        ..summarise(&scores)
    }
}

/// The likelihood of a set of scored samples.
#[must_use]
pub fn summarise(scores: impl IntoIterator<Item: Borrow<SampleScore>>) -> Evaluation {
    let mut summary = Evaluation::default();
    let (mut sum, mut correct) = (0.0, 0usize);
    for score in scores {
        let score = score.borrow();
        summary.samples += 1;
        summary.tokens += score.tokens;
        summary.supervised += score.supervised;
        sum += score.nll * score.supervised as f64;
        correct += score.correct;
    }
    summary.nll = mean(sum, summary.supervised);
    summary.perplexity = summary.nll.exp();
    summary.token_accuracy = mean(correct as f64, summary.supervised);
    summary
}
