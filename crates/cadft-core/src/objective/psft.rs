//! Proximal supervised fine-tuning (arXiv 2508.17784): a token is no longer trained once it has become much likelier than it was.
//!
//! ```text
//! g = r where r ≤ 1 + ε, else 0,   r = p/p_old                                   (PSFT-1)
//! ```
//!
//! That is the gradient of `−min(r, clip(r, 1 − ε', 1 + ε))`: the lower bound ε', 0.2 in the authors' script, never acts where the
//! advantage is 1. `p_old` is the probability under the model as it was when the last window of steps began. The authors' code
//! gives no gradient below `r = e⁻²⁰` either. As for every member, the reported loss is `−sg[g]·log p`.

use super::{Objective, TokenReference, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Likelihood, each token gated by the ratio of its probability to what it was some steps before, and left out where that is large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Psft {
    /// How far ε above 1 the ratio may be, at least 0. The authors': 0.28.
    #[serde(deserialize_with = "config::clip")]
    pub clip: f64,
    /// How many steps a window has, at least 1, after which the ratio is to the model as it is then. 1 is NLL. That of the
    /// authors' script, 64 samples in steps of 8: 8.
    #[serde(deserialize_with = "config::every")]
    pub every: usize,
}

impl Default for Psft {
    fn default() -> Self {
        Self { clip: 0.28, every: 8 }
    }
}

impl Psft {
    /// The name in recipes.
    pub const NAME: &str = "psft";
}

impl Objective for Psft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let ratio = (stats.log_probs.clone() - stats.requested_reference()).exp();
        let is_near = ratio.clone().lower_equal_elem(1.0 + self.clip);
        // Not a product: an infinite ratio times 0 is no number.
        ratio.zeros_like().mask_where(is_near, ratio)
    }

    fn token_reference(&self) -> Option<TokenReference> {
        Some(TokenReference::Renewed { every: self.every })
    }

    /// A gate is low where a token has become less likely than it was.
    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}
