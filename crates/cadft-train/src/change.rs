//! What is no longer as it was when a run continues.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Something that a result depends on and that is not what it was. `null` stands for a value that is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The dotted key of the recipe, or what else it is.
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

/// The part of a run before something was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The last step that was done before the change.
    pub until: usize,
    /// What was changed then.
    pub changed: Vec<Change>,
}
