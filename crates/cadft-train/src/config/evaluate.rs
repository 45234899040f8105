//! `[evaluate]`.

use crate::evaluate::Extractor;
use cadft_model::{GenerateOptions, Sampling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of questions that are answered at the same time.
pub(crate) const ANSWERED_AT_A_TIME: usize = 32;

/// Evaluation on `data.eval`; always before the first and after the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct EvaluateSection {
    /// Steps between two evaluations during the run; 0 = none. Ours: none.
    pub every: usize,
    /// Samples with an `answer` that are answered by generation before and after training; 0 = none.
    pub answers: usize,
    /// Answers to each of them; more than one needs a `temperature`.
    pub samples: usize,
    /// How the final answer of a text is found: `number`, `boxed`, `choice`, `exact` or `regex=PATTERN`.
    #[schemars(with = "String")]
    pub extractor: Extractor,
    /// Longest generated answer, in tokens. Ours: 128.
    pub max_new_tokens: usize,
    /// Temperature of the answers; 0 = greedy.
    pub temperature: f64,
    /// Probability mass of the nucleus that answers are drawn from; 1 = all tokens.
    pub top_p: f64,
}

impl Default for EvaluateSection {
    fn default() -> Self {
        Self {
            every: 0,
            answers: 0,
            samples: 1,
            extractor: Extractor::Number,
            max_new_tokens: 128,
            temperature: 0.0,
            top_p: 1.0,
        }
    }
}

impl EvaluateSection {
    /// The options of generation.
    #[must_use]
    pub fn options(&self, seed: u64, stop_token_ids: &[u32], max_positions: usize) -> GenerateOptions {
        GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            max_positions,
            stop_token_ids: stop_token_ids.to_vec(),
            sampling: Sampling::nucleus(self.temperature, self.top_p, seed),
            batch: ANSWERED_AT_A_TIME,
        }
    }
}
