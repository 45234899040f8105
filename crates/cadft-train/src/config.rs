//! The recipe: the model, the data and the method of a run. Strict TOML; defaults are the paper's, or are marked
//! `Ours:`.

mod adapter;
mod checkpoint;
mod diff;
mod evaluate;
mod guard;
mod log;
mod migrate;
mod objective;
mod optimizer;
mod own_objective;
mod parse;
#[cfg(test)]
pub(crate) mod properties;
mod reference;
mod rewrite;
mod schema;
mod shards;
mod sources;
mod validate;

pub use adapter::AdapterSection;
pub use checkpoint::{BestBy, CheckpointSection};
pub use diff::{Difference, difference};
pub(crate) use evaluate::ANSWERED_AT_A_TIME;
pub use evaluate::EvaluateSection;
pub use guard::{GuardSection, MemoryOf, OnLowMemory};
pub use log::LogSection;
pub use migrate::{Migration, migrate};
pub use objective::ObjectiveChoice;
pub(crate) use objective::is_member;
pub use optimizer::OptimizerSection;
pub use parse::{instead_of, parse, set, suggested_key};
pub use reference::ReferenceSection;
pub(crate) use rewrite::GENERATED_AT_A_TIME;
pub use rewrite::RewriteSection;
pub use schema::schema;

use cadft_core::{AnyObjective, Normalisation, Objective};
use cadft_data::{Bucketing, Mask, Mixing, Order, Packing, Preset, Source, StoppingStrategy, Truncation};
use cadft_model::decoder::{Precision, Recompute};
use cadft_step::ranks::ZeroStage;
pub use cadft_step::schedule::{ScheduleKind, steps_of};
use cadft_step::{MicroBatching, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The recipe format version that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// A whole recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Recipe {
    /// Version of the recipe's format: 1, the only one so far. A recipe without the key has it too.
    pub format_version: u32,
    /// `[model]`.
    pub model: ModelSection,
    /// `[adapter]`; without it every weight is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterSection>,
    /// `[data]`.
    pub data: DataSection,
    /// `[batch]`.
    pub batch: BatchSection,
    /// `objective = "…"` or `[objective.NAME]`; the default is CADFT with the paper's settings.
    pub objective: ObjectiveChoice,
    /// `[reference]`, for an objective that looks at tokens under a frozen model.
    pub reference: ReferenceSection,
    /// `[loss]`.
    pub loss: LossSection,
    /// `[optimizer]`.
    pub optimizer: OptimizerSection,
    /// `[schedule]`.
    pub schedule: ScheduleSection,
    /// `[rewrite]`; without it, nothing is rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<RewriteSection>,
    /// `[evaluate]`.
    pub evaluate: EvaluateSection,
    /// `[checkpoint]`.
    pub checkpoint: CheckpointSection,
    /// `[log]`.
    pub log: LogSection,
    /// `[guard]`.
    pub guard: GuardSection,
    /// `[run]`.
    pub run: RunSection,
}

impl Recipe {
    /// How weighted training sources are mixed, with the run's seed.
    pub fn mixing(&self) -> Mixing {
        Mixing {
            seed: self.run.seed,
            stopping_strategy: self.data.stopping_strategy,
        }
    }

    /// Whether an objective of the run requires the model that the run began with.
    pub(crate) fn looks_at_reference(&self) -> bool {
        let of_start = self.loss.start.as_ref().and_then(Objective::reference);
        of_start.or_else(|| self.objective.reference()).is_some()
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            model: ModelSection::default(),
            adapter: None,
            data: DataSection::default(),
            batch: BatchSection::default(),
            objective: ObjectiveChoice::default(),
            reference: ReferenceSection::default(),
            loss: LossSection::default(),
            optimizer: OptimizerSection::default(),
            schedule: ScheduleSection::default(),
            rewrite: None,
            evaluate: EvaluateSection::default(),
            checkpoint: CheckpointSection::default(),
            log: LogSection::default(),
            guard: GuardSection::default(),
            run: RunSection::default(),
        }
    }
}

/// Which model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ModelSection {
    /// A Hugging Face directory, or `hf://OWNER/NAME[@REVISION]`.
    pub path: String,
    /// Number format of the computation.
    pub precision: Precision,
    /// Whether products of f32 may be computed in TF32, if the device has it. Ours: yes.
    pub tf32: bool,
    /// Which activations are recomputed in the backward pass. Ours: none.
    pub recompute: Recompute,
    /// Where the weights come from.
    pub init: Init,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            path: String::new(),
            precision: Precision::default(),
            tf32: true,
            recompute: Recompute::default(),
            init: Init::default(),
        }
    }
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// The directory's safetensors.
    #[default]
    Pretrained,
    /// Random values from the run's seed: the directory needs a `config.json` and a tokenizer only.
    Random,
}

/// The training and evaluation data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DataSection {
    /// Sources: paths of files, directories and globs, or tables (see below); a list, or a single source. Without
    /// weights they are read in this order; with weights their rows are mixed in these proportions.
    #[serde(deserialize_with = "sources::one_or_more")]
    #[schemars(with = "sources::OneOrMore")]
    pub train: Vec<Source>,
    /// Sources for evaluation before and after training; without weights.
    #[serde(deserialize_with = "sources::one_or_more")]
    #[schemars(with = "sources::OneOrMore")]
    pub eval: Vec<Source>,
    /// When the rows of weighted sources end; the default of `interleave_datasets` of `datasets`.
    pub stopping_strategy: StoppingStrategy,
    /// Longest sample in tokens. The DFT code's: 2048.
    pub max_length: usize,
    /// What happens to longer samples, which are counted and reported. The DFT code's: `"right"`.
    pub truncation: Truncation,
    /// Order of the samples in an epoch.
    pub order: Order,
    /// Which tokens are trained.
    pub mask: Mask,
    /// A chat template that comes with cadft (`chatml`, `llama3`, `alpaca`), in place of the model's own. It is saved
    /// with the model, with the token that ends its turns. Ours: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Preset>,
    /// Where tokenised data is kept for the next run: `auto` for the user's cache directory, `off`, or a directory.
    /// Ours: `auto`.
    pub cache: String,
    /// Variables of the chat template, such as `enable_thinking = false`. The `chat_template_kwargs` of a row take
    /// precedence over them, and the saved model has them as defaults. Ours: none.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub template_variables: toml::Table,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            train: vec![],
            eval: vec![],
            stopping_strategy: StoppingStrategy::FirstExhausted,
            max_length: 2048,
            truncation: Truncation::Right,
            template: None,
            cache: "auto".to_owned(),
            template_variables: toml::Table::new(),
            order: Order::Shuffled,
            mask: Mask::Assistant,
        }
    }
}

/// How samples are grouped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BatchSection {
    /// Samples in one optimizer step, `|B|`; the paper's: 256.
    pub global: usize,
    /// Samples in one forward pass, on average; rows, if `packing` is not `padding-free`. Changes memory and speed, not the result.
    /// Ours: 4.
    pub micro: usize,
    /// Most tokens in one forward pass, padding included, instead of `micro`; a longer sample gets a pass of its own.
    /// Ours: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Which rows go into one forward pass, if `packing` is not `padding-free`. Ours: by length, which pads least.
    pub bucketing: Bucketing,
    /// How the samples of a forward pass are laid out; changes memory and speed, not the result. Rows that samples share are as
    /// long as the longest sample of the global batch. Ours: padding-free.
    pub packing: Packing,
    /// Number of shards that a global batch is dealt into, with about equally many tokens in each. Every rank computes
    /// the same number of shards, a power of two. The number of shards determines how sums of gradients round, so the
    /// result depends on it, but not on the number of ranks. Ours: the number of ranks of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// With several ranks, what only the owner of a parameter keeps: 1, its moments; 2, its moments and its gradient,
    /// which is then sent more often. With several shards, it affects the rounding of sums. 2 needs `model.recompute =
    /// "blocks"`. Ours: 1.
    pub zero_stage: ZeroStage,
}

impl Default for BatchSection {
    fn default() -> Self {
        Self {
            global: 256,
            micro: 4,
            max_tokens: None,
            bucketing: Bucketing::ByLength,
            packing: Packing::PaddingFree,
            shards: None,
            zero_stage: ZeroStage::One,
        }
    }
}

impl From<&BatchSection> for MicroBatching {
    fn from(section: &BatchSection) -> Self {
        Self {
            micro: section.micro,
            max_tokens: section.max_tokens,
            bucketing: section.bucketing,
            packing: section.packing,
        }
    }
}

/// How the loss is reduced, and which objective comes first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LossSection {
    /// What the sum of the losses is divided by.
    pub normalisation: Normalisation,
    /// An objective for the beginning of the run, such as `nll`. Ours: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<AnyObjective>,
    /// How long `start` lasts: a fraction of the run below 1, steps from 1 on. Ours: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0.1))]
    pub start_until: Option<f64>,
}

impl Recipe {
    /// The learning rate of each step in a run of `total_steps` steps.
    #[must_use]
    pub fn learning_rates(&self, total_steps: usize) -> Schedule {
        Schedule {
            lr: self.optimizer.lr,
            kind: self.schedule.kind,
            warmup_steps: steps_of(self.schedule.warmup, total_steps),
            total_steps,
        }
    }
}

/// Length of the run and shape of the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ScheduleSection {
    /// Shape after the warm-up; the DFT code's: cosine.
    pub kind: ScheduleKind,
    /// Linear warm-up: a fraction of the run below 1, steps from 1 on. The DFT code's: 0.1.
    pub warmup: f64,
    /// Passes over the training data; 1 if `steps` is absent too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 1))]
    pub epochs: Option<f64>,
    /// Optimizer steps, instead of `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
}

impl Default for ScheduleSection {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup: 0.1,
            epochs: None,
            steps: None,
        }
    }
}

/// The run itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RunSection {
    /// Seed of the data order and of random weights.
    pub seed: u64,
    /// Directory of the run. If it is absent, the command line chooses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// Seconds that a rank waits for the others before it ends the run and names them.
    pub patience: u64,
}

impl Default for RunSection {
    fn default() -> Self {
        Self {
            seed: 42,
            out: None,
            patience: 600,
        }
    }
}
