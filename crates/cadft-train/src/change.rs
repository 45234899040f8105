//! The changes between a checkpoint and the run that continues from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// A difference in something that the result depends on. `null` stands for an absent value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The dotted key of the recipe, or the name of another input.
    pub key: String,
    /// The value in the checkpoint.
    pub was: Value,
    /// The value from now on.
    pub is: Value,
}

impl Change {
    pub(crate) fn new(key: impl Into<String>, was: impl Into<Value>, is: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            was: was.into(),
            is: is.into(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Value| match value {
            Value::Null => "absent".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let (was, is) = (shown(&self.was), shown(&self.is));
        write!(f, "`{}`: was {was}, is {is}", self.key)
    }
}

/// A part of a run that ended with a change of settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The last step before the change.
    pub until: usize,
    /// The changes.
    pub changed: Vec<Change>,
}
