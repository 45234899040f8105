//! PriFT (arXiv 2606.09396): tokens count by how well the frozen model that the run began with supports them.
//!
//! ```text
//! prob   g = q(y)                                                                (PRIFT-1)
//! mass   g = 1 where Σ_{v: q(v) ≤ q(y)} q(v) ≥ τ, else 0                         (PRIFT-2)
//! ```
//!
//! `q` is the distribution under the frozen model. The authors' code adds `q(y)` to the mass of tokens that are strictly less
//! likely, so that others of the same probability do not count; their formula, and this, count them.

use super::{Objective, TokenReference, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Likelihood, each token gated by its probability under a frozen model, or by whether that finds it among the likelier ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prift {
    /// What of the frozen model's distribution gates a token. Both are the authors'.
    pub support: PriorSupport,
    /// The mass τ from which a token is trained with `support = "mass"`, at least 0 and at most 1. The authors': 0.5.
    #[serde(deserialize_with = "config::closed_threshold")]
    pub threshold: f64,
}

/// What of a frozen model's distribution gates a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PriorSupport {
    /// The probability of the token.
    #[default]
    Prob,
    /// Whether the tokens that are at most as likely have at least the probability `threshold` together.
    Mass,
}

impl Default for Prift {
    fn default() -> Self {
        Self {
            support: PriorSupport::Prob,
            threshold: 0.5,
        }
    }
}

impl Prift {
    /// The name in recipes.
    pub const NAME: &str = "prift";
}

impl Objective for Prift {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let reference = stats.requested_reference();
        match self.support {
            PriorSupport::Prob => reference.exp(),
            PriorSupport::Mass => reference.greater_equal_elem(self.threshold).float(),
        }
    }

    fn token_reference(&self) -> Option<TokenReference> {
        Some(match self.support {
            PriorSupport::Prob => TokenReference::LogProb,
            PriorSupport::Mass => TokenReference::MassBelow,
        })
    }

    /// It says that the frozen model does, whatever the model learns.
    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}
