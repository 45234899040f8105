//! Negative log-likelihood, plain supervised fine-tuning.
//!
//! ```text
//! g = 1
//! ```

use super::{Objective, TokenStats};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Plain supervised fine-tuning: every token counts the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nll {}

impl Nll {
    /// The name in recipes.
    pub const NAME: &str = "nll";
}

impl Objective for Nll {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        stats.log_probs.ones_like()
    }
}
