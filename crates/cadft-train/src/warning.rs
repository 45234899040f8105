//! Warnings for the user, although nothing failed.

use cadft_files::Hint;
use cadft_model::ModelConfig;
use schemars::JsonSchema;
use serde::Serialize;

/// Something a user should know, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Warning {
    /// The message.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Warning {
    /// A warning.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// The warning that a vision tower is left out, if the model has one.
    #[must_use]
    pub fn of_model(config: &ModelConfig) -> Option<Self> {
        config.without_tower.then(|| {
            Self::new(
                "the model has a vision tower, which is left out",
                "what is saved is the language model alone; merge it back with transformers if images are needed",
            )
        })
    }

    /// A warning about an error; the error's hints come first.
    pub(crate) fn of_error(what: &str, error: &dyn Hint, hint: &str) -> Self {
        let mut hints = error.hints();
        hints.push(hint.into());
        Self::new(format!("{what}: {error}"), hints.join("; "))
    }
}
