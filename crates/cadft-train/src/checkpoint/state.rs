//! Everything of a run that is neither a weight nor a moment.

use crate::change::Segment;
use crate::evaluate::{Answers, Evaluation};
use crate::inputs::Inputs;
use crate::rewrite::RewritingState;
use cadft_core::RunningMoments;
use cadft_data::TemplateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a run is. A function of the recipe, the data and the step: two runs that agree write the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Version of this format.
    pub format_version: u32,
    /// Optimizer steps done.
    pub step: usize,
    /// Optimizer steps of the whole run: the learning rate of a step depends on both.
    pub total_steps: usize,
    /// Passes over the data that are complete.
    pub epoch: usize,
    /// Global batches of the current pass that are done. The order of a pass is a function of the seed and its number.
    pub cursor: usize,
    /// Seed of the run. Every random choice is a function of it and of the step, sample or parameter it is made for, so
    /// there is no generator whose position would have to be saved.
    pub seed: u64,
    /// Statistics of earlier global batches.
    pub running: RunningMoments,
    /// What the guards have counted.
    pub guard: GuardState,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluation before the first step.
    pub before: Before,
    /// Complete lines of every log at this step, by file name.
    pub logs: BTreeMap<String, usize>,
    /// Compatibility of every sample so far, and what was rewritten.
    pub rewriting: RewritingState,
    /// Whether the evaluation of this step was stopped: it takes place when the run continues.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluation_is_due: bool,
    /// The settings that the result depends on, as in `config.resolved.toml`.
    pub settings: Value,
    /// What it is trained on and evaluated with.
    pub data: DataDigests,
    /// What else it reads; absent in checkpoints of older releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// The local time that the chat template shows in the whole run; absent if it shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_time: Option<TemplateTime>,
    /// Where `--allow-change` changed something, in the order of the steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// Name of the device.
    pub device: String,
}

/// SHA-256 of tokenised samples with their masks and weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDigests {
    /// Those of `data.train`.
    pub train: String,
    /// Those of `data.eval`.
    pub eval: String,
    /// Prompts and answers of the questions of `data.eval`; absent where none are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<String>,
}

/// What the guards have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardState {
    /// Steps in a row with a low mean gate.
    pub low_gates: usize,
    /// Steps without an update because something was not finite.
    pub skipped: usize,
    /// Those since the last update.
    pub skipped_in_a_row: usize,
    /// Steps that the average of the gradient norm is made of.
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

/// Evaluation before the first step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Likelihood of the evaluation samples.
    pub evaluation: Option<Evaluation>,
    /// Answers to the questions.
    pub answers: Option<Answers>,
}
