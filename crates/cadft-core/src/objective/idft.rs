//! In-distribution fine-tuning (arXiv 2602.12222): a power of the probability. The exponent is smaller the more likely
//! the target is, compared with the model's own samples.
//!
//! ```text
//! g = p^γ,   γ = clamp(exp(−φ/β), 0.1, 2),   φ = log p + H
//! ```
//!
//! `H` is the entropy of the next-token distribution, in nats. Deviation: the authors' code also differentiates `p^γ`,
//! which pushes targets down if `γ·log p < −1`. Here the gate is detached, as for every member.

use super::{Objective, TokenStats, config};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The smallest and the largest exponent, as in the authors' code.
const EXPONENTS: [f64; 2] = [0.1, 2.0];

/// Each token is gated by a power of its probability; the exponent depends on how typical the token is of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Idft {
    /// Scale of φ in nats, above 0. The authors': 1.
    #[serde(deserialize_with = "config::positive_beta")]
    pub beta: f64,
}

impl Default for Idft {
    fn default() -> Self {
        Self { beta: 1.0 }
    }
}

impl Idft {
    /// The name in recipes.
    pub const NAME: &str = "idft";
}

impl Objective for Idft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let log_probs = stats.log_probs.clone();
        let phi = log_probs.clone() + stats.requested();
        let [least, most] = EXPONENTS;
        // Clamped before the exponential too: for a very unlikely target it would overflow f32.
        let exponents = phi
            .div_scalar(-self.beta)
            .clamp_max(most.ln())
            .exp()
            .clamp_min(least);
        (log_probs * exponents).exp()
    }

    fn statistic(&self) -> Option<Statistic> {
        Some(Statistic::Entropy)
    }
}
