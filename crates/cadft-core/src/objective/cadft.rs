//! Compatibility-aware dynamic fine-tuning (arXiv 2606.11206).
//!
//! ```text
//! g = p                        the token gate of DFT
//! w = exp(−β · max(0, ĉ))      the sample weight                                 (CADFT-3)
//! ```

use super::{Dft, Nll, Objective, SampleStats, TokenStats};
use crate::compatibility::Compatibility;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The token gate under CADFT's sample weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// `g = p`, the paper's.
    #[default]
    Dft,
    /// `g = 1`: the sample level alone. Ours: an ablation, and the practical choice for a base that does not yet give
    /// the targets fair probability.
    Nll,
}

/// CADFT: DFT's token gate, and a weight for each demonstration by how compatible it is with the current policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, try_from = "Settings", into = "Settings")]
pub struct Cadft {
    /// The token gate.
    pub gate: Gate,
    /// How scores become weights.
    pub compatibility: Compatibility,
}

impl Objective for Cadft {
    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        match self.gate {
            Gate::Dft => Dft {}.token_gates(stats),
            Gate::Nll => Nll {}.token_gates(stats),
        }
    }

    fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
        (samples.scores.iter())
            .map(|&score| self.compatibility.weight(samples.batch.z(score)))
            .collect()
    }

    fn compatibility(&self) -> Option<&Compatibility> {
        Some(&self.compatibility)
    }
}

/// Compatibility-aware dynamic fine-tuning: a token gate, and a weight for each sample.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The token gate; the paper's: `dft`.
    gate: Gate,
    /// Strength of the sample weights, at least 0; 0 turns them off. The paper's: 1.
    beta: f64,
    /// Where the statistics of the scores come from; the paper's: `exact`.
    statistics: crate::Statistics,
    /// Decay of the moving averages of `running`, at least 0 and below 1. Ours: 0.99.
    statistics_decay: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Cadft::default().into()
    }
}

impl From<Cadft> for Settings {
    fn from(Cadft { gate, compatibility }: Cadft) -> Self {
        let Compatibility {
            beta,
            statistics,
            statistics_decay,
        } = compatibility;
        Self {
            gate,
            beta,
            statistics,
            statistics_decay,
        }
    }
}

impl TryFrom<Settings> for Cadft {
    type Error = String;

    fn try_from(
        Settings {
            gate,
            beta,
            statistics,
            statistics_decay,
        }: Settings,
    ) -> Result<Self, String> {
        if !(beta.is_finite() && beta >= 0.0) {
            return Err(format!("`beta` must be finite and at least 0, not `{beta}`"));
        }
        if !(0.0..1.0).contains(&statistics_decay) {
            return Err(format!(
                "`statistics-decay` must be at least 0 and below 1, not `{statistics_decay}`"
            ));
        }
        Ok(Self {
            gate,
            compatibility: Compatibility {
                beta,
                statistics,
                statistics_decay,
            },
        })
    }
}
