//! Answers questions by generation, once or several times, and compares the answers with the references.

use cadft_core::reduction::mean;
use cadft_data::{Source, SpecialTokens, Tokenizer};
use cadft_model::generate::generate;
use cadft_model::{CausalLm, Finish, GenerateOptions, Request};
use cadft_step::Ranks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::extract::Extract;
use super::pass_at::{pass_at, reported};
use crate::data::Question;
use crate::error::TrainError;
use crate::room;
use crate::sharing::shared;

/// Answers to a set of questions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answers {
    /// Questions asked.
    pub questions: usize,
    /// Answers to each.
    pub samples: usize,
    /// Answers that equal the reference.
    pub correct: usize,
    /// Their share, which is avg@samples and pass@1.
    pub accuracy: f64,
    /// Standard error of the accuracy over the questions; absent for a single question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// pass@k by k.
    pub pass_at: BTreeMap<usize, f64>,
    /// Answers that ended on a stop token.
    pub stopped: usize,
    /// Answers in which no final answer was found.
    pub without_answer: usize,
    /// Mean over the questions of the entropy of their final answers, nats. Absent for a single answer each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_entropy: Option<f64>,
    /// Mean over the questions of the share of texts that differ from each other. Absent for a single answer each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct_texts: Option<f64>,
    /// The same for the questions of each source, if there are several sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<AnsweredSource>,
}

/// Answers to the questions of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnsweredSource {
    /// The path of the source, as the recipe has it.
    pub path: String,
    /// Questions asked.
    pub questions: usize,
    /// Answers that equal the reference.
    pub correct: usize,
    /// Their share; 0 without questions.
    pub accuracy: f64,
    /// pass@k by k.
    pub pass_at: BTreeMap<usize, f64>,
    /// As `answers.answer_entropy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_entropy: Option<f64>,
}

/// The answers to one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// The row's id.
    pub id: String,
    /// The reference, normalised.
    pub reference: String,
    /// Number of right answers.
    pub correct: usize,
    /// All answers.
    pub answers: Vec<OneAnswer>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneAnswer {
    /// Its text.
    pub text: String,
    /// The final answer, normalised; absent if none was found.
    pub answer: Option<String>,
    /// Whether it equals the reference.
    pub correct: bool,
    /// Whether it ended on a stop token.
    pub stopped: bool,
    /// Number of its tokens.
    pub tokens: usize,
}

/// Answers every question `samples` times, and compares the answers with the references.
///
/// The answers depend on the options' seed and on the position of a question in the list.
///
/// # Errors
/// As [`generate`] and [`room::fitting`].
pub fn answer_questions(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    questions: &[Question],
    options: &GenerateOptions,
    how: (&Extract, usize),
) -> Result<Vec<Answered>, TrainError> {
    let watch = &mut |_| ControlFlow::Continue(());
    answer_questions_watched((&Ranks::solo(), model), tokenizer, questions, options, how, watch)
}

/// As [`answer_questions`], with the questions distributed among ranks; every rank gets all answers. `watch` receives
/// the number of tokens so far. If there is only one rank, it may break: every answer then ends at that point.
///
/// # Errors
/// As [`answer_questions`].
pub fn answer_questions_watched(
    (ranks, model): (&Ranks, &CausalLm),
    tokenizer: &Tokenizer,
    questions: &[Question],
    options: &GenerateOptions,
    (extract, samples): (&Extract, usize),
    watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Answered>, TrainError> {
    let mut tokens = 0;
    let mut on_token = |_: usize, _: u32| {
        tokens += 1;
        watch(tokens)
    };
    let prompts: Vec<Vec<u32>> = questions
        .iter()
        .map(|question| question.prompt_ids.clone())
        .collect();
    let requests: Vec<Request> = (Request::samples(&prompts, samples).into_iter().enumerate())
        .filter(|(request, _)| ranks.has(request / samples.max(1)))
        .map(|(_, request)| request)
        .collect();
    let own = (questions.iter().enumerate())
        .filter(|(place, _)| ranks.has(*place))
        .map(|(_, question)| question);
    let options = room::fitting(model, &requests, options)?;
    let mut generated = generate(model, &requests, &options, &mut on_token)?.into_iter();
    let answered: Result<Vec<Answered>, TrainError> = own
        .map(|question| {
            let reference = extract.reference(&question.answer);
            let answers = generated
                .by_ref()
                .take(samples)
                .map(|generated| {
                    let text = tokenizer.decode(&generated.token_ids, SpecialTokens::Skip)?;
                    let answer = extract.answer(&text);
                    Ok(OneAnswer {
                        correct: answer.as_ref() == Some(&reference),
                        answer,
                        text,
                        stopped: generated.finish == Finish::Stop,
                        tokens: generated.token_ids.len(),
                    })
                })
                .collect::<Result<Vec<_>, TrainError>>()?;
            Ok(Answered {
                id: question.id.clone(),
                reference,
                correct: answers.iter().filter(|answer| answer.correct).count(),
                answers,
            })
        })
        .collect();
    Ok(shared(ranks, questions.len(), answered?))
}

impl Answers {
    /// The summary of all questions. Each must have the same number of answers.
    #[must_use]
    pub fn summarise(answered: &[Answered]) -> Self {
        Self::of(&answered.iter().collect::<Vec<_>>())
    }

    /// The summary of all questions, and of those of each source if there are several. `questions` are those that were
    /// answered, in the same order.
    #[must_use]
    pub fn summarise_by_source(answered: &[Answered], questions: &[Question], sources: &[Source]) -> Self {
        let mut all = Self::summarise(answered);
        if sources.len() < 2 {
            return all;
        }
        let of_source = |(index, source): (usize, &Source)| {
            let own = questions.iter().zip(answered);
            let own = own.filter(|(question, _)| question.source == index);
            let own = Self::of(&own.map(|(_, answered)| answered).collect::<Vec<_>>());
            AnsweredSource {
                path: source.path.clone(),
                questions: own.questions,
                correct: own.correct,
                accuracy: own.accuracy,
                pass_at: own.pass_at,
                answer_entropy: own.answer_entropy,
            }
        };
        all.sources = sources.iter().enumerate().map(of_source).collect();
        all
    }

    fn of(answered: &[&Answered]) -> Self {
        let questions = answered.len();
        let samples = answered.first().map_or(0, |question| question.answers.len());
        let all = || answered.iter().flat_map(|question| &question.answers);
        let correct = answered.iter().map(|question| question.correct).sum();
        let accuracy = mean(
            f64::from(u32::try_from(correct).unwrap_or(u32::MAX)),
            questions * samples,
        );
        let pass = |k: usize| {
            let sum = answered
                .iter()
                .map(|question| pass_at(k, samples, question.correct))
                .sum();
            (k, mean(sum, questions))
        };
        let squares: f64 = answered
            .iter()
            .map(|question| (question.correct as f64 / samples as f64 - accuracy).powi(2))
            .sum();
        let standard_error = (questions > 1).then(|| mean(mean(squares, questions - 1), questions).sqrt());
        Self {
            questions,
            samples,
            correct,
            accuracy,
            standard_error,
            pass_at: if samples == 0 {
                BTreeMap::new()
            } else {
                reported(samples).into_iter().map(pass).collect()
            },
            stopped: all().filter(|answer| answer.stopped).count(),
            without_answer: all().filter(|answer| answer.answer.is_none()).count(),
            answer_entropy: (samples > 1).then(|| {
                let entropies = answered
                    .iter()
                    .map(|question| entropy(question.answers.iter().map(|answer| answer.answer.as_deref())));
                mean(entropies.sum(), questions)
            }),
            distinct_texts: (samples > 1).then(|| {
                let shares = answered.iter().map(|question| {
                    let texts: BTreeSet<&str> = question
                        .answers
                        .iter()
                        .map(|answer| answer.text.as_str())
                        .collect();
                    texts.len() as f64 / samples as f64
                });
                mean(shares.sum(), questions)
            }),
            sources: vec![],
        }
    }
}

/// The Shannon entropy of how often each value is there, nats.
fn entropy<T: Ord>(values: impl ExactSizeIterator<Item = T>) -> f64 {
    let count = values.len() as f64;
    let mut counts = BTreeMap::<T, usize>::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let terms = counts
        .values()
        .map(|&own| own as f64 / count)
        .map(|p| -p * p.ln());
    // A sum of nothing but zeros may be -0.
    terms.sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(correct: &[bool]) -> Answered {
        let answers: Vec<_> = correct
            .iter()
            .map(|&correct| OneAnswer {
                text: String::new(),
                answer: correct.then(String::new),
                correct,
                stopped: correct,
                tokens: 1,
            })
            .collect();
        Answered {
            id: String::new(),
            reference: String::new(),
            correct: correct.iter().filter(|&&correct| correct).count(),
            answers,
        }
    }

    #[test]
    fn accuracy_is_the_mean_over_answers_and_pass_at_k_over_questions() {
        let all = [
            answered(&[true, false, false, false]),
            answered(&[true, true, true, true]),
            answered(&[false; 4]),
        ];
        let summary = Answers::summarise(&all);
        assert_eq!((summary.questions, summary.samples, summary.correct), (3, 4, 5));
        assert!((summary.accuracy - 5.0 / 12.0).abs() < 1e-15);
        let pass: Vec<f64> = summary.pass_at.values().copied().collect();
        for (found, expected) in pass.iter().zip([5.0 / 12.0, 0.5, 2.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert_eq!(summary.pass_at.keys().copied().collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!((summary.stopped, summary.without_answer), (5, 7));
        // One question has a right answer and three without one; the others agree with themselves.
        let expected = -(0.25 * 0.25_f64.ln() + 0.75 * 0.75_f64.ln()) / 3.0;
        assert!((summary.answer_entropy.unwrap() - expected).abs() < 1e-12);
        assert_eq!(summary.distinct_texts, Some(0.25));
        // Accuracies 1/4, 1 and 0: variance 0.2708, divided by 3 questions.
        let deviations: f64 = [0.25, 1.0, 0.0]
            .iter()
            .map(|a: &f64| (a - 5.0 / 12.0).powi(2))
            .sum();
        let expected = (deviations / 2.0 / 3.0).sqrt();
        assert!((summary.standard_error.unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn nothing_asked_is_no_division_by_zero() {
        let summary = Answers::summarise(&[]);
        assert_eq!((summary.questions, summary.accuracy), (0, 0.0));
        assert_eq!(Answers::summarise(&[answered(&[true])]).standard_error, None);
    }
}
