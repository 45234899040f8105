//! `[log]`: the logs of a run besides its metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The logs of a run besides its metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LogSection {
    /// Also write event files for TensorBoard, to `tensorboard` in the run's directory. Off, as the `report_to` of
    /// transformers and TRL is.
    pub tensorboard: bool,
    /// Steps, evenly over the run, whose samples are written to `samples.jsonl` with their scores and weights; 0 =
    /// none. Ours: 200, which is enough for the report and keeps the file small.
    pub samples: usize,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            tensorboard: false,
            samples: 200,
        }
    }
}
