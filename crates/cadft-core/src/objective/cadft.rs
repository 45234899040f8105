//! Compatibility-aware dynamic fine-tuning (arXiv 2606.11206).
//!
//! ```text
//! g = p                        the token gate of DFT; ours: that of any other member that has only one
//! w = exp(−β · max(0, ĉ))      the sample weight                                 (CADFT-3)
//! ```

use super::{Gate, Objective, SampleStats, TokenReference, TokenStats, config};
use crate::compatibility::Compatibility;
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// CADFT: a token gate, DFT's by default, and a weight for each demonstration by how compatible it is with the current
/// policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, try_from = "Settings", into = "Settings")]
pub struct Cadft {
    /// The token gate.
    pub gate: Gate,
    /// How scores become weights.
    pub compatibility: Compatibility,
}

impl Cadft {
    /// The name in recipes.
    pub const NAME: &str = "cadft";
}

impl Objective for Cadft {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        self.gate.token_gates(stats)
    }

    fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
        (samples.scores.iter())
            .map(|&score| self.compatibility.weight(samples.batch.z(score)))
            .collect()
    }

    fn compatibility(&self) -> Option<&Compatibility> {
        Some(&self.compatibility)
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

    fn low_gate_means_unlikely(&self) -> bool {
        self.gate.low_gate_means_unlikely()
    }
}

/// Compatibility-aware dynamic fine-tuning: a token gate, and a weight for each sample.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The token gate, by name or as a table of its settings; the paper's: `dft`.
    #[serde(serialize_with = "config::name_or_table")]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compatibility::Standardiser;
    use burn::tensor::Device;

    #[test]
    fn cadft_has_the_gates_of_its_gate_and_its_own_weights() {
        let device = Device::default();
        let stats = TokenStats {
            log_probs: Tensor::from_floats([-0.1, -2.0, -7.5], &device),
            statistic: Some(Tensor::from_floats([0.9, 0.4, 0.2], &device)),
            median_score: Some(1.0),
            reference: Some(Tensor::from_floats([-0.2, -1.5, -4.0], &device)),
            least_excess: Some(0.0),
        };
        let scores = [0.5, 1.0, 4.0];
        let batch: Standardiser = scores.iter().copied().collect();
        let samples = SampleStats {
            scores: &scores,
            batch: &batch,
            reference: None,
        };
        let paper = Cadft::default();
        for name in Gate::NAMES {
            let gate = Gate::from_name(name).unwrap();
            let cadft = Cadft {
                gate: gate.clone(),
                ..paper.clone()
            };
            let gates = |objective: &dyn Objective| objective.token_gates(&stats).into_data();
            assert_eq!(gates(&cadft), gates(&gate), "{name}");
            assert_eq!(
                cadft.sample_weights(&samples),
                paper.sample_weights(&samples),
                "{name}"
            );
            assert_eq!(cadft.statistic(), gate.statistic(), "{name}");
            assert_eq!(cadft.looks_at_median(), gate.looks_at_median(), "{name}");
            assert_eq!(cadft.token_reference(), gate.token_reference(), "{name}");
            assert_eq!(cadft.top_excess(), gate.top_excess(), "{name}");
            assert_eq!(
                gate.sample_weights(&samples),
                [1.0; 3],
                "{name}: a gate weighs nothing"
            );
            assert!(
                gate.compatibility().is_none() && gate.reference().is_none(),
                "{name}"
            );
        }
        assert!(paper.sample_weights(&samples)[2] < 1.0);
    }
}
