//! Dynamic fine-tuning (arXiv 2508.05629, equations 7–9).
//!
//! ```text
//! g = p
//! ```

use super::{Objective, TokenStats};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Dynamic fine-tuning: each token is gated by the model's own probability of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dft {}

impl Dft {
    /// The name in recipes.
    pub const NAME: &str = "dft";
}

impl Objective for Dft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        stats.log_probs.clone().exp()
    }
}
