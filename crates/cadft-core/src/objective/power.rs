//! Powers of the probability (Beyond Log-Likelihood): NLL at α = 0, DFT at α = 1.
//!
//! ```text
//! g = p^α,  the gradient of (1 − p^α)/α
//! ```

use super::{Objective, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The gate `p^α`. The reported loss is `−sg[p^α]·log p`, as for every member, not `(1 − p^α)/α`: the gradients agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Power {
    /// The exponent `α ≥ 0`. Ours: 0.5, half way between NLL and DFT.
    #[serde(deserialize_with = "config::alpha")]
    pub alpha: f64,
}

impl Default for Power {
    fn default() -> Self {
        Self { alpha: 0.5 }
    }
}

impl Power {
    /// The name in recipes.
    pub const NAME: &str = "power";
}

impl Objective for Power {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        stats.log_probs.clone().mul_scalar(self.alpha).exp()
    }
}
