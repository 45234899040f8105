//! Importance-weighted supervised fine-tuning (arXiv 2507.12856): samples that have become likelier count more.
//!
//! ```text
//! g = 1
//! w = clamp(exp(τ · mean_t(log π_θ − log π_ref)), 0, 16)                         (IW-1)
//! ```

use super::{Nll, Objective, Reference, SampleStats, TokenStats, config};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest weight.
const LARGEST: f64 = 16.0;

/// Likelihood with a weight for each demonstration: the ratio of its probability under the model and under the initial
/// model of the run, as a geometric mean over tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IwSft {
    /// The exponent τ of the ratio, at least 0; 0 is NLL. The authors': 1.
    #[serde(deserialize_with = "config::temperature")]
    pub temperature: f64,
}

impl Default for IwSft {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl IwSft {
    /// The name in recipes.
    pub const NAME: &str = "iw-sft";
}

impl Objective for IwSft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        Nll {}.token_gates(stats)
    }

    fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
        let reference = samples
            .reference
            .expect("the scores that `Objective::reference` asks for");
        // A score is the mean of −log p, so the sign is reversed.
        (samples.scores.iter().zip(reference))
            .map(|(score, before)| (self.temperature * (before - score)).exp().min(LARGEST))
            .collect()
    }

    fn reference(&self) -> Option<Reference> {
        Some(Reference::Scores)
    }
}
