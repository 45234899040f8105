//! Dynamic entropy fine-tuning (arXiv 2602.11424): near likelihood where the model is undecided, near DFT where it is sure.
//!
//! ```text
//! g = α/(α + 1e-6) · p^α,   α = Σ_v p_v²;   the gradient of (1 − p^α)/(α + 1e-6)
//! ```

use super::{Objective, TokenStats};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The authors' guard of a division by α.
const EPSILON: f64 = 1e-6;

/// Each token is gated by a power of its probability; the exponent is how concentrated the distribution is, `Σ p²`.
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
