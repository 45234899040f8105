//! Information-aware fine-tuning (arXiv 2605.14967): tokens count most if the model is half sure of the target.
//!
//! ```text
//! g = p · max(0, logit p̄ − logit p),   logit x = log(x/(1 − x))                  (INFO-1)
//! ```
//!
//! The gate is 0 for `p ≥ p̄`, and largest near `p = 0.57` (1.31 at `p̄ = 0.93`). The paper defines it up to a constant
//! factor; ours is 1. One public implementation, palingenesis, divides by the mean gate of the micro-batch.

use super::{Objective, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each token is gated by its probability, and by how far its log-odds are below those of a threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InfoSft {
    /// The probability p̄, above 0 and below 1; likelier targets are not trained. The paper's: 0.93.
    #[serde(deserialize_with = "config::open_threshold")]
    pub threshold: f64,
}

impl Default for InfoSft {
    fn default() -> Self {
        Self { threshold: 0.93 }
    }
}

impl InfoSft {
    /// The name in recipes.
    pub const NAME: &str = "info-sft";
}

impl Objective for InfoSft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let p = stats.log_probs.clone().exp();
        let logits = stats.log_probs.clone() - p.clone().neg().add_scalar(1.0).log();
        let highest = (self.threshold / (1.0 - self.threshold)).ln();
        // If p rounds to 1, its logit is infinite and the gate 0.
        p * logits.neg().add_scalar(highest).clamp_min(0.0)
    }

    // The gate is also low if the model is sure of the target.
    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}
