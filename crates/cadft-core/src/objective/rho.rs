//! Rho-1 (arXiv 2404.07965), selective language modelling: the tokens are trained that the model could still learn from a reference
//! model.
//!
//! ```text
//! Δ = log q − log p,   g = 1/k where Δ is among the largest k·N of the global batch, else 0        (RHO-1)
//! ```
//!
//! `q` is the probability under the frozen reference model, `N` the number of supervised tokens; with `token-mean` the sum is divided
//! by `k·N`, as in the paper. Tokens of equal excess `Δ` as the last one are trained too. The authors have published models and no
//! code of the training that we know of. Token cleaning (arXiv 2502.01968) chooses by the same excess over a whole data set, once.

use super::{Objective, TokenReference, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Only tokens whose loss exceeds that of a frozen reference model most are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rho {
    /// The share k of the tokens of a global batch that is trained, above 0 and at most 1; 1 is NLL. That of the runs
    /// that token cleaning published: 0.6.
    #[serde(deserialize_with = "config::top")]
    pub top: f64,
}

impl Default for Rho {
    fn default() -> Self {
        Self { top: 0.6 }
    }
}

impl Rho {
    /// The name in recipes.
    pub const NAME: &str = "rho";
}

impl Objective for Rho {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let excess = stats.requested_reference() - stats.log_probs.clone();
        let is_chosen = excess.greater_equal_elem(stats.requested_excess());
        is_chosen.float().div_scalar(self.top)
    }

    fn token_reference(&self) -> Option<TokenReference> {
        Some(TokenReference::LogProb)
    }

    fn top_excess(&self) -> Option<f64> {
        Some(self.top)
    }

    /// Its mean is 1 whatever the model finds.
    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}
