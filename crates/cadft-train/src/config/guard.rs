//! `[guard]`: how a run reacts to values that indicate a problem.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run reacts to values that indicate a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GuardSection {
    /// Steps in a row whose loss or gradient is not finite before the run stops; each of them is skipped. Ours: 3.
    pub non_finite: usize,
    /// Warn if the gradient norm exceeds its moving average by this factor; 0 = never. Ours: 10.
    pub spike: f64,
    /// What happens if the estimated memory is far above what the system has. Ours: `refuse`.
    pub memory: OnLowMemory,
}

/// What happens if the estimated memory is far above what the system has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnLowMemory {
    /// The run does not start.
    #[default]
    Refuse,
    /// It starts, with a warning.
    Warn,
}

impl Default for GuardSection {
    fn default() -> Self {
        Self {
            non_finite: 3,
            spike: 10.0,
            memory: OnLowMemory::Refuse,
        }
    }
}
