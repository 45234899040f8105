//! The token weight φ of CHORD (arXiv 2508.11408): tokens count most if the model is undecided about the target.
//!
//! ```text
//! g = p · (1 − p)                                                                (CHORD-1)
//! ```
//!
//! CHORD adds the loss with this gate to one of reinforcement learning, with a factor that changes over the run. Here
//! it is used alone. The gate is at most 1/4, so the loss has another scale than that of DFT.

use super::{Objective, TokenStats};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each token is gated by `p(1 − p)`, the variance of whether the model predicts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChordPhi {}

impl ChordPhi {
    /// The name in recipes.
    pub const NAME: &str = "chord-phi";
}

impl Objective for ChordPhi {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let p = stats.log_probs.clone().exp();
        p.clone() * p.neg().add_scalar(1.0)
    }

    // The gate is also low if the model is sure of the target.
    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}
