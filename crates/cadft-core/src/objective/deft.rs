//! Dynamic entropy fine-tuning (arXiv 2602.11424): near likelihood if the model is undecided, near DFT if it is sure.
//!
//! ```text
//! g = α/(α + 1e-6) · p^α,   α = Σ_v p_v²;   the gradient of (1 − p^α)/(α + 1e-6)
//! ```

use super::{Objective, TokenStats};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps the division by α finite, as in the authors' code.
const EPSILON: f64 = 1e-6;

/// Each token is gated by a power of its probability; the exponent `Σ p²` measures how concentrated the distribution
/// is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deft {}

impl Deft {
    /// The name in recipes.
    pub const NAME: &str = "deft";
}

impl Objective for Deft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let alpha = stats.requested();
        let gates = (stats.log_probs.clone() * alpha.clone()).exp();
        gates * alpha.clone() / alpha.add_scalar(EPSILON)
    }

    fn statistic(&self) -> Option<Statistic> {
        Some(Statistic::Collision)
    }
}
