//! Anchored supervised fine-tuning (arXiv 2509.23753): DFT, kept close to the initial model of the run.
//!
//! ```text
//! g = p,  and the loss gains  Σ_i w_i Σ_t λ · KL(π_ref‖π_θ) / normaliser         (ASFT-1)
//! ∂KL/∂logits = π_θ − π_ref                                                      (ASFT-2)
//! ```
//!
//! The divergence goes from the reference to the model, as in the authors' code.

use super::{Dft, Objective, Reference, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// DFT's token gate, and a divergence from the reference model on every supervised token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Asft {
    /// Strength of the divergence, at least 0; 0 is DFT. The paper's: 0.05; its code has 0.1.
    #[serde(deserialize_with = "config::lambda")]
    pub lambda: f64,
}

impl Default for Asft {
    fn default() -> Self {
        Self { lambda: 0.05 }
    }
}

impl Asft {
    /// The name in recipes.
    pub const NAME: &str = "asft";
}

impl Objective for Asft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        Dft {}.token_gates(stats)
    }

    fn reference(&self) -> Option<Reference> {
        Some(Reference::Anchor {
            strength: self.lambda,
        })
    }
}
