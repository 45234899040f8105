//! The counts of a round, and a warning about it.

use crate::warning::Warning;
use cadft_core::rewrite::Rejection;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The counts of a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct RoundSummary {
    /// Samples considered.
    pub chosen: usize,
    /// Of these, samples for which a candidate was generated.
    pub drawn: usize,
    /// Of these, samples whose target was replaced.
    pub replaced: usize,
    /// The others, by the reason.
    #[schemars(with = "BTreeMap<String, usize>")]
    pub kept: BTreeMap<Rejection, usize>,
    /// Mean score of the targets that were replaced.
    pub old_score: Option<f64>,
    /// Mean score of their replacements.
    pub new_score: Option<f64>,
    /// Tokens that were generated.
    pub tokens: usize,
    /// Seconds it took.
    pub elapsed_secs: f64,
}

impl RoundSummary {
    /// A warning about a round that replaced nothing.
    #[must_use]
    pub fn warning(&self, step: usize) -> Option<Warning> {
        if self.chosen == 0 {
            return Some(Warning::new(
                format!(
                    "the round after step {step} chose no sample: none was seen often enough and is incompatible"
                ),
                "lower `rewrite.min-observations`, or begin later",
            ));
        }
        if self.drawn == 0 || self.replaced > 0 {
            return None;
        }
        let reasons: Vec<_> = (self.kept.iter())
            .filter(|(reason, _)| **reason != Rejection::NotDrawn)
            .collect();
        let hint = match reasons.iter().max_by_key(|(_, count)| **count) {
            Some((Rejection::Unfinished, _)) => {
                "the model did not come to an end: raise `rewrite.max-new-tokens`, or begin later"
            }
            Some((Rejection::TooLong | Rejection::PromptTooLong, _)) => "raise `data.max-length`",
            Some((Rejection::OtherAnswer, _)) => "the model is not able to answer these yet: begin later",
            _ => "`cadft rewrite show` has the candidates",
        };
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(reason, count)| format!("{count} {}", name(**reason)))
            .collect();
        let message = format!(
            "the round after step {step} replaced nothing: none of {} candidates was accepted ({})",
            self.drawn,
            reasons.join(", ")
        );
        Some(Warning::new(message, hint))
    }
}

/// The spelling of a reason in the log.
fn name(reason: Rejection) -> String {
    let value = serde_json::to_value(reason).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
