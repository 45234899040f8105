//! Entropy-adaptive fine-tuning (arXiv 2601.02151, equations 2 and 3): tokens count if the model is undecided.
//!
//! ```text
//! g = (H_20 / ln 20)^α
//! ```
//!
//! `H_20` is the entropy of the twenty most likely tokens, renormalised to sum to 1.

use super::{Objective, TokenStats, config};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of most likely tokens in the entropy.
const TOP: u8 = 20;

/// Each token is gated by the entropy of the model, as a fraction of the largest possible entropy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Eaft {
    /// The exponent, at least 0; 0 is NLL. The paper's: 1.
    #[serde(deserialize_with = "config::alpha")]
    pub alpha: f64,
}

impl Default for Eaft {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

impl Eaft {
    /// The name in recipes.
    pub const NAME: &str = "eaft";
}

impl Objective for Eaft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        // Rounding may put an entropy just below 0.
        let share = stats.requested().clamp_min(0.0).div_scalar(f64::from(TOP).ln());
        share.powf_scalar(self.alpha)
    }

    fn statistic(&self) -> Option<Statistic> {
        Some(Statistic::TopEntropy { k: usize::from(TOP) })
    }

    // The gate is low if the model is sure, even of another token than the target.
    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}
