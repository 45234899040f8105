//! Token-adaptive loss reweighting (arXiv 2509.20758): a token counts less, the higher its loss is compared with the
//! median score.
//!
//! ```text
//! g = max(p^{1/τ}, floor),   τ = median_i c_i over the global batch              (TALR-1)
//! ```
//!
//! `c_i` is the score (CADFT-1). For an even number of samples the lower median is taken. We know of no published code
//! by the authors. The floor and this median are those of another implementation, DiSC (arXiv 2602.16093), whose median
//! is that of a micro-batch. `p^{1/τ} = exp(−ℓ/τ)` is the weight in the paper.

use super::{Objective, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Smallest temperature: avoids a division by a median score of 0.
const LEAST: f64 = 1e-6;

/// Each token is gated by a power of its probability; the exponent depends on the scores of the global batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Talr {
    /// The temperature τ in nats, above 0. If it is absent, as in the paper, τ is the median of the scores of the
    /// global batch.
    #[serde(
        deserialize_with = "config::optional_temperature",
        skip_serializing_if = "Option::is_none"
    )]
    pub temperature: Option<f64>,
    /// The smallest gate, at least 0 and below 1. That of DiSC: 0.01.
    #[serde(deserialize_with = "config::floor")]
    pub floor: f64,
}

impl Default for Talr {
    fn default() -> Self {
        Self {
            temperature: None,
            floor: 0.01,
        }
    }
}

impl Talr {
    /// The name in recipes.
    pub const NAME: &str = "talr";
}

impl Objective for Talr {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let temperature = self.temperature.unwrap_or_else(|| stats.requested_median());
        let powers = stats.log_probs.clone().div_scalar(temperature.max(LEAST)).exp();
        powers.clamp_min(self.floor)
    }

    fn looks_at_median(&self) -> bool {
        self.temperature.is_none()
    }
}
