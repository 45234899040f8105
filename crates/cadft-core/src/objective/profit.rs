//! ProFit (arXiv 2601.09195): tokens that are unlikely under the model are not trained.
//!
//! ```text
//! g = 1 where p > τ, else 0                                                      (PROFIT-1)
//! ```
//!
//! The authors' code divides by all supervised tokens of the batch, as `token-mean` does, and also keeps `p = τ`.

use super::{Objective, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Only tokens whose probability is above a threshold are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profit {
    /// The probability τ, at least 0 and below 1; 0 is NLL. The authors': 0.1.
    #[serde(deserialize_with = "config::threshold")]
    pub threshold: f64,
}

impl Default for Profit {
    fn default() -> Self {
        Self { threshold: 0.1 }
    }
}

impl Profit {
    /// The name in recipes.
    pub const NAME: &str = "profit";
}

impl Objective for Profit {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        // At threshold 0 the logarithm is −∞, below every log-probability, so that every token is kept.
        stats.log_probs.clone().greater_elem(self.threshold.ln()).float()
    }
}
