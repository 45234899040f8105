//! `[rewrite]`: when incompatible demonstrations are rewritten, which, and how.

use super::steps_of;
use cadft_core::rewrite::{Acceptance, RoundSchedule, Selection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of candidates that are generated at the same time. The candidates do not depend on it.
pub(crate) const GENERATED_AT_A_TIME: usize = 32;

/// Delayed, low-frequency, compatibility-guided rewriting (CADFT-5). Without the table, nothing is rewritten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RewriteSection {
    /// `T_warm`, before which nothing is rewritten: a fraction of the run below 1, steps from 1 on. The paper's: 3000
    /// steps. Ours: half the run, as 3000 steps are more than most runs have.
    pub warmup: f64,
    /// `K`: a round takes place after every multiple of it: fraction or steps. The paper's: 1000 steps. Ours: 0.15.
    pub every: f64,
    /// Share of the samples that one round considers; the paper's: about 0.005.
    pub fraction: f64,
    /// `ρ`, the probability with which each of them is drawn for rewriting; the paper's: 0.5.
    pub probability: f64,
    /// Decay of the moving averages. Ours: 0.9.
    pub decay: f64,
    /// How often a sample must have been seen before it is chosen. Ours: 2.
    pub min_observations: u32,
    /// How often one sample may be rewritten. Ours: 1.
    pub max_per_sample: u32,
    /// Temperature of the sampling; the paper's: 0.7.
    pub temperature: f64,
    /// Probability mass of the nucleus that tokens are drawn from; the paper's: 0.9.
    pub top_p: f64,
    /// Longest rewrite in tokens; `data.max-length` bounds prompt and rewrite together. Ours: 512.
    pub max_new_tokens: usize,
    /// Whether a rewrite must have a lower score than what it replaces. Ours: yes.
    pub require_lower_score: bool,
    /// Whether a rewrite must reach the final answer of the reference: the row's `answer`, else that of the original.
    /// Ours: no, as in the paper.
    pub same_answer: bool,
    /// Whether the model answers once more, with the demonstration as a hint, where it does not reach the right answer by itself. Such an
    /// answer is accepted only if it is right, and likelier than the demonstration without the hint. Needs `same-answer`. Ours: no.
    pub guided: bool,
    /// What is put after the question for that; `{solution}` stands for the demonstration. Ours.
    pub hint: String,
}

impl Default for RewriteSection {
    fn default() -> Self {
        Self {
            warmup: 0.5,
            every: 0.15,
            fraction: 0.005,
            probability: 0.5,
            decay: 0.9,
            min_observations: 2,
            max_per_sample: 1,
            temperature: 0.7,
            top_p: 0.9,
            max_new_tokens: 512,
            require_lower_score: true,
            same_answer: false,
            guided: false,
            hint: "\n\nA right solution is:\n{solution}\n\nSolve it in your own words.".to_owned(),
        }
    }
}

impl RewriteSection {
    /// The schedule of rounds in a run of `total_steps` steps.
    #[must_use]
    pub fn schedule(&self, total_steps: usize) -> RoundSchedule {
        // Not limited to the run: a warm-up that is longer than the run must not end with it.
        let steps = |value: f64| {
            let within = steps_of(value, total_steps);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "validated to be finite and ≥ 0"
            )]
            if value < 1.0 {
                within
            } else {
                value.round() as usize
            }
        };
        RoundSchedule {
            warmup_steps: steps(self.warmup),
            every_steps: steps(self.every).max(1),
            total_steps,
        }
    }

    /// The criteria for samples of a round.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            fraction: self.fraction,
            min_observations: self.min_observations,
            max_per_sample: self.max_per_sample,
        }
    }

    /// The criteria for accepting a rewrite; `max_length` is the longest sample in tokens.
    #[must_use]
    pub fn acceptance(&self, max_length: usize) -> Acceptance {
        Acceptance {
            max_length,
            require_lower_score: self.require_lower_score,
            same_answer: self.same_answer,
        }
    }

    /// Every wrong value: its dotted key, and what to do.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let broken = self.requirements().into_iter().filter(|(holds, ..)| !holds);
        broken.map(|(_, key, message)| (key, message)).collect()
    }

    /// Every requirement on the table: whether it holds, the dotted key, and what to do.
    pub(super) fn requirements(&self) -> Vec<(bool, &'static str, &'static str)> {
        const SHARE: &str = "must be above 0 and at most 1";
        const AT_LEAST_ONE: &str = "must be at least 1";
        let is_share = |value: f64| value > 0.0 && value <= 1.0;
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        let warmup = self.warmup.is_finite() && self.warmup >= 0.0;
        vec![
            (warmup, "rewrite.warmup", "must be finite and at least 0"),
            (
                is_positive(self.every),
                "rewrite.every",
                "must be finite and above 0",
            ),
            (is_share(self.fraction), "rewrite.fraction", SHARE),
            (is_share(self.probability), "rewrite.probability", SHARE),
            (
                (0.0..1.0).contains(&self.decay),
                "rewrite.decay",
                "must be at least 0 and below 1",
            ),
            (
                self.min_observations >= 1,
                "rewrite.min-observations",
                AT_LEAST_ONE,
            ),
            (self.max_per_sample >= 1, "rewrite.max-per-sample", AT_LEAST_ONE),
            (
                is_positive(self.temperature),
                "rewrite.temperature",
                "must be finite and above 0",
            ),
            (is_share(self.top_p), "rewrite.top-p", SHARE),
            (self.max_new_tokens >= 1, "rewrite.max-new-tokens", AT_LEAST_ONE),
            (
                self.same_answer || !self.guided,
                "rewrite.guided",
                "an answer is only known to be wrong if it is compared: set `rewrite.same-answer = true`",
            ),
            (
                self.hint.contains("{solution}"),
                "rewrite.hint",
                "must contain `{solution}`",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(warmup: f64, every: f64, total: usize) -> Vec<usize> {
        let section = RewriteSection {
            warmup,
            every,
            ..RewriteSection::default()
        };
        section.schedule(total).rounds().collect()
    }

    #[test]
    fn lengths_are_fractions_below_one_and_steps_from_one_on() {
        assert_eq!(rounds(0.5, 0.15, 100), [60, 75, 90]);
        assert_eq!(rounds(3000.0, 1000.0, 5500), [3000, 4000, 5000]);
        assert_eq!(rounds(0.0, 1.0, 4), [1, 2, 3]);
    }

    #[test]
    fn a_warm_up_beyond_the_run_never_ends() {
        assert!(rounds(3000.0, 10.0, 391).is_empty());
        assert!(rounds(10.0, 1000.0, 391).is_empty());
    }
}
