//! The state of a run, except weights and moments.

use crate::change::Segment;
use crate::evaluate::Before;
use crate::inputs::Inputs;
use crate::rewrite::RewritingState;
use cadft_core::RunningMoments;
use cadft_data::TemplateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The position of a run. It is a function of the recipe, the data and the step: two runs that agree in them write the
/// same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Version of this format.
    pub format_version: u32,
    /// Number of optimizer steps done.
    pub step: usize,
    /// Number of optimizer steps in the whole run; the learning rate depends on it.
    pub total_steps: usize,
    /// Number of completed passes over the data.
    pub epoch: usize,
    /// Number of global batches done in the current pass. The order within a pass is a function of the seed and the
    /// pass number.
    pub cursor: usize,
    /// Seed of the run. Every random choice is a function of the seed and of its step, sample or parameter. So there is
    /// no generator whose position would have to be saved.
    pub seed: u64,
    /// Statistics of earlier global batches.
    pub running: RunningMoments,
    /// The counters of the guards.
    pub guard: GuardState,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// The evaluation before the first step.
    pub before: Before,
    /// For each log, its number of complete lines at this step, by file name.
    pub logs: BTreeMap<String, usize>,
    /// The compatibility of every sample so far, and the rewrites.
    pub rewriting: RewritingState,
    /// Whether the evaluation at this step was interrupted; it is done when the run continues.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluation_is_due: bool,
    /// The settings that the result depends on, as in `config.resolved.toml`.
    pub settings: Value,
    /// Digests of the training and evaluation data.
    pub data: DataDigests,
    /// Digests of other inputs; absent in checkpoints of older releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// The local time that the chat template shows throughout the run; absent if it shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_time: Option<TemplateTime>,
    /// The parts of the run between changes by `--allow-change`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// Name of the device.
    pub device: String,
}

/// SHA-256 of tokenised samples with their masks and weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDigests {
    /// The samples of `data.train`.
    pub train: String,
    /// The samples of `data.eval`.
    pub eval: String,
    /// Prompts and answers of the questions in `data.eval`; absent if no questions are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<String>,
}

/// The counters of the guards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardState {
    /// Number of consecutive steps with a low mean gate.
    pub low_gates: usize,
    /// Number of steps that were skipped because a value was not finite.
    pub skipped: usize,
    /// Number of steps skipped since the last update.
    pub skipped_in_a_row: usize,
    /// Number of steps in the moving average of the gradient norm.
    pub norms: usize,
    /// Moving average of the gradient norm.
    pub norm: f64,
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// After how many steps.
    pub step: usize,
    /// Its value of `checkpoint.best`: an NLL, or an accuracy.
    pub value: f64,
}
