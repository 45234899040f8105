//! The token weight φ of CHORD (arXiv 2508.11408): tokens count where the model is undecided between the target and the rest.
//!
//! ```text
//! g = p · (1 − p)                                                                (CHORD-1)
//! ```
//!
//! CHORD adds the loss with this gate to one of reinforcement learning, with a factor that changes over the run. Here it
//! stands alone. The gate is at most 1/4: the loss is on another scale than that of DFT.

use super::{Objective, TokenStats};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each token is gated by the variance of whether the model says it, `p(1 − p)`.
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

    // The gate is low where the model is sure of the target, too.
    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}
