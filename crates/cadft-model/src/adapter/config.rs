//! The settings of an adapter.

use std::collections::BTreeMap;

use super::choices::{AdapterKind, AdapterScaling, TargetModules};

/// The settings of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// LoRA or DoRA.
    pub kind: AdapterKind,
    /// Rank of the update.
    pub rank: usize,
    /// Numerator of the scaling.
    pub alpha: f64,
    /// Denominator of the scaling.
    pub scaling: AdapterScaling,
    /// Probability that an input element of an update is dropped in training.
    pub dropout: f64,
    /// Which layers get an update.
    pub target_modules: TargetModules,
    /// Modules that are trained in full and stored with the adapter, such as `embed_tokens`.
    pub modules_to_save: Vec<String>,
    /// The rank of individual layers, by name; other layers have `rank`.
    pub rank_pattern: BTreeMap<String, usize>,
    /// The numerator of the scaling of individual layers, by name; other layers have `alpha`.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// How tied embedding and output weights are treated if the adapter changes one of them.
    pub tying: Tying,
}

/// How tied embedding and output weights are treated if an adapter changes one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tying {
    /// Both change: they stay tied (PEFT's `ensure_weight_tying`).
    #[default]
    Together,
    /// They are untied: the other one keeps the value of the base (PEFT's default).
    Apart,
}

impl Default for AdapterConfig {
    /// LoRA of rank 8 on every linear layer; the numbers are PEFT's defaults.
    fn default() -> Self {
        Self {
            kind: AdapterKind::Lora,
            rank: 8,
            alpha: 8.0,
            scaling: AdapterScaling::Rank,
            dropout: 0.0,
            target_modules: TargetModules::AllLinear,
            modules_to_save: vec![],
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            tying: Tying::Together,
        }
    }
}

impl AdapterConfig {
    /// The factor of an update with the default rank and numerator.
    #[must_use]
    pub fn scaling(&self) -> f64 {
        self.scaled(self.alpha, self.rank)
    }

    /// The rank of a layer's update.
    #[must_use]
    pub fn rank_of(&self, layer: &str) -> usize {
        self.rank_pattern.get(layer).copied().unwrap_or(self.rank)
    }

    /// The factor of a layer's update.
    #[must_use]
    pub fn scaling_of(&self, layer: &str) -> f64 {
        let alpha = self.alpha_pattern.get(layer).copied().unwrap_or(self.alpha);
        self.scaled(alpha, self.rank_of(layer))
    }

    fn scaled(&self, alpha: f64, rank: usize) -> f64 {
        let rank = rank as f64;
        match self.scaling {
            AdapterScaling::Rank => alpha / rank,
            AdapterScaling::RootRank => alpha / rank.sqrt(),
        }
    }
}
