//! Selectively encouraging diversity (arXiv 2602.07464): if several tokens are plausible, targets are held near 1/2.
//!
//! ```text
//! loss_t = −log p + λ·M·(p − 1/2)²,   M = 1 where the k likeliest tokens have together less than τ, else 0
//! g      = 1 − 2·λ·M·p·(p − 1/2),     the gradient of that loss                  (SED-1)
//! ```
//!
//! `Ours:` the reported loss is `−sg[g]·log p`, as for every member; the gradients are equal.
//!
//! `Deviation:` here τ is a setting. The authors' code, unless τ is given, computes it before a run: the quantile of
//! the masses of a validation set that 70 % of its tokens exceed. By default those masses are of 10 tokens, and those
//! of the loss of 2.

use super::{Objective, TokenStats, config};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Likelihood, and a pull towards a probability of 1/2 if the likeliest tokens leave room for others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SedSft {
    /// Strength of the pull, at least 0 and at most 1, above which gates would be negative; 0 is NLL. The authors': 1.
    #[serde(deserialize_with = "config::lambda_of_one")]
    pub lambda: f64,
    /// Number of likeliest tokens that are considered, at least 1. The authors': 2.
    #[serde(deserialize_with = "config::k")]
    pub k: u8,
    /// The probability τ, at least 0 and at most 1: if these tokens together have less, others have room. The default
    /// of the authors' loss: 0.95.
    #[serde(deserialize_with = "config::closed_threshold")]
    pub threshold: f64,
}

impl Default for SedSft {
    fn default() -> Self {
        Self {
            lambda: 1.0,
            k: 2,
            threshold: 0.95,
        }
    }
}

impl SedSft {
    /// The name in recipes.
    pub const NAME: &str = "sed-sft";
}

impl Objective for SedSft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let p = stats.log_probs.clone().exp();
        let has_room = stats.requested().lower_elem(self.threshold).float();
        let pull = p.clone() * p.sub_scalar(0.5) * has_room;
        pull.mul_scalar(-2.0 * self.lambda).add_scalar(1.0)
    }

    fn statistic(&self) -> Option<Statistic> {
        Some(Statistic::TopMass {
            k: usize::from(self.k),
        })
    }
}
