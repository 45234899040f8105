//! Likelihood, kept close to the initial model of the run: the anchor of ASFT with another gate.
//!
//! ```text
//! g = 1, or that of another member,  and the loss gains  Σ_i w_i Σ_t λ · KL(π_ref‖π_θ) / normaliser    (ASFT-1)
//! ```
//!
//! SkyRL's `kl_reg_sft` estimates the divergence in the other direction, from the probability of the target alone.

use super::{Gate, Nll, Objective, Reference, TokenReference, TokenStats, config};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A token gate, likelihood's by default, and a divergence from the reference model on every supervised token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KlSft {
    /// The token gate, by name or as a table of its settings; `nll` by default, with `dft` the objective is `asft`.
    #[serde(serialize_with = "config::name_or_table")]
    pub gate: Gate,
    /// Strength of the divergence, at least 0; 0 applies only the gate. Ours: 0.05, as in the paper of ASFT.
    #[serde(deserialize_with = "config::lambda")]
    pub lambda: f64,
}

impl Default for KlSft {
    fn default() -> Self {
        Self {
            gate: Gate::Nll(Nll {}),
            lambda: 0.05,
        }
    }
}

impl KlSft {
    /// The name in recipes.
    pub const NAME: &str = "kl-sft";
}

impl Objective for KlSft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        self.gate.token_gates(stats)
    }

    fn statistic(&self) -> Option<Statistic> {
        self.gate.statistic()
    }

    fn looks_at_median(&self) -> bool {
        self.gate.looks_at_median()
    }

    fn token_reference(&self) -> Option<TokenReference> {
        self.gate.token_reference()
    }

    fn top_excess(&self) -> Option<f64> {
        self.gate.top_excess()
    }

    fn reference(&self) -> Option<Reference> {
        Some(Reference::Anchor {
            strength: self.lambda,
        })
    }

    fn low_gate_means_unlikely(&self) -> bool {
        self.gate.low_gate_means_unlikely()
    }
}
