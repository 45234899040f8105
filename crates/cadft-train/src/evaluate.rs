//! Evaluation: likelihood of held-out samples, and answers by generation.

mod answer;

pub use answer::extract_answer;

use crate::batch::GlobalBatch;
use crate::config::BatchSection;
use crate::error::TrainError;
use crate::forward::supervised_states;
use crate::prepare::{EVALUATION_BUCKETING, Question};
use cadft_core::reduction::{mean, sample_scores};
use cadft_core::{linear_argmax, linear_log_probs};
use cadft_data::{Example, SpecialTokens, Tokenizer};
use cadft_model::{CausalLm, Finish, GenerateOptions, Sampling, generate::generate};
use serde::Serialize;

/// Likelihood of a set of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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

/// Answers by greedy generation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Answers {
    /// Questions asked.
    pub questions: usize,
    /// Answers that equal the reference.
    pub correct: usize,
    /// Their share.
    pub accuracy: f64,
    /// Answers that ended on a stop token.
    pub stopped: usize,
}

/// The score of every sample, in their order; `model` off the autodiff graph.
#[must_use]
pub fn score_samples(model: &CausalLm, examples: &[Example], micro: usize, pad_id: u32) -> Vec<SampleScore> {
    let device = model.device();
    let section = BatchSection {
        global: examples.len(),
        micro,
        bucketing: EVALUATION_BUCKETING,
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
    for micro in GlobalBatch::new(&all, &section, pad_id, &device).micro {
        let states = supervised_states(model, &micro);
        let weight = model.output_weight();
        let ranked_first = linear_argmax(states.clone(), weight.clone()).equal(micro.targets.clone());
        let ranked_first: Vec<i64> = ranked_first.int().into_data().iter().collect();
        let log_probs = linear_log_probs(states, weight, micro.targets.clone());
        let log_probs: Vec<f32> = log_probs.into_data().iter().collect();
        let nll = sample_scores(&log_probs, &micro.row_of, micro.samples.len());
        for (&sample, nll) in micro.samples.iter().zip(nll) {
            scores[sample].nll = nll;
        }
        for (&row, first) in micro.row_of.iter().zip(ranked_first) {
            scores[micro.samples[row]].correct += usize::from(first == 1);
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

/// Answers questions greedily in batches of `batch` and compares with the references.
///
/// # Errors
/// As [`generate`].
pub fn answer_questions(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    questions: &[Question],
    max_new_tokens: usize,
    batch: usize,
) -> Result<Answers, TrainError> {
    let options = GenerateOptions {
        max_new_tokens,
        stop_token_ids: tokenizer.stop_token_ids().to_vec(),
        sampling: Sampling::Greedy,
    };
    let (mut correct, mut stopped) = (0, 0);
    for questions in questions.chunks(batch) {
        let prompts: Vec<Vec<u32>> = questions
            .iter()
            .map(|question| question.prompt_ids.clone())
            .collect();
        let answers = generate(model, &prompts, &options, &mut |_, _| {})?;
        for (question, answer) in questions.iter().zip(answers) {
            let text = tokenizer.decode(&answer.token_ids, SpecialTokens::Skip)?;
            correct += usize::from(extract_answer(&text) == extract_answer(&question.answer));
            stopped += usize::from(answer.finish == Finish::Stop);
        }
    }
    let accuracy = mean(correct as f64, questions.len());
    Ok(Answers {
        questions: questions.len(),
        correct,
        accuracy,
        stopped,
    })
}
