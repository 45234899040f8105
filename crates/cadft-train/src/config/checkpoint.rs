//! `[checkpoint]`: when checkpoints are written, and which are kept.

use cadft_model::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Checkpoints during the run and at its end; the final model is always saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CheckpointSection {
    /// Steps between two checkpoints; the last step has one too. 0 = only when the run is interrupted. Ours: 100.
    pub every: usize,
    /// Minutes after which a checkpoint is written in any case; 0 = never.
    pub every_minutes: f64,
    /// How many of the newest are kept. The best is kept too. Ours: 3.
    pub keep: usize,
    /// What makes a checkpoint the best. An evaluation that is better than all before it is saved. Ours: `nll`.
    pub best: BestBy,
    /// Number format of the saved weights. Training and resumed runs stay in f32; evaluations after the first step use
    /// the model as it is saved.
    pub dtype: Dtype,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self {
            every: 100,
            every_minutes: 0.0,
            keep: 3,
            best: BestBy::Nll,
            dtype: Dtype::F32,
        }
    }
}

/// What makes a checkpoint the best. Never the value of an objective: it can fall while the model gets worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BestBy {
    /// The lowest mean negative log-likelihood of `data.eval`.
    #[default]
    Nll,
    /// The highest share of right answers (`evaluate.answers`), then asked at every evaluation.
    Accuracy,
}
