//! The fields of a record during conversion, and the problems found.

use serde_json::{Map, Value};

use super::{Absent, Wrong};
use crate::exact;
use crate::shown::kind;

/// The key of a row's variables for the chat template; the name is TRL's.
pub(super) const VARIABLES: &str = "chat_template_kwargs";

/// Variables that every template gets; a row cannot set them.
const GIVEN: [&str; 5] = [
    "messages",
    "tools",
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
];

/// How a file stores values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cells {
    /// With types.
    Typed,
    /// As text (CSV); an empty cell is an absent value.
    Text,
}

/// The fields of a record.
pub(crate) struct Fields {
    values: Map<String, Value>,
    cells: Cells,
    problems: Vec<String>,
    absent: Vec<Absent>,
}

impl Fields {
    pub(super) fn new(values: Map<String, Value>, cells: Cells) -> Self {
        Self {
            values,
            cells,
            problems: Vec::new(),
            absent: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, message: String) {
        self.problems.push(message);
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(super) fn problems_mut(&mut self) -> &mut Vec<String> {
        &mut self.problems
    }

    /// Records that required keys are absent.
    pub(super) fn absent(&mut self, what: String, hint: Option<&'static str>) {
        let found = self.values.keys().cloned().collect();
        self.absent.push(Absent { what, found, hint });
    }

    /// Whether there are no problems so far.
    pub(super) fn is_good(&self) -> bool {
        self.problems.is_empty() && self.absent.is_empty()
    }

    pub(super) fn into_wrong(self) -> Vec<Wrong> {
        let values = self.problems.into_iter().map(Wrong::Value);
        values.chain(self.absent.into_iter().map(Wrong::Absent)).collect()
    }

    /// Whether a key has a value. `null` counts as absent, because some tables have every column in every row. So does
    /// an empty cell, except for a prompt, which may be empty.
    pub(super) fn has(&self, key: &str) -> bool {
        match self.values.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) if text.is_empty() => self.cells == Cells::Typed || key == "prompt",
            Some(_) => true,
        }
    }

    /// Removes and returns the value of a key.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        if self.has(key) {
            self.values.remove(key)
        } else {
            None
        }
    }

    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.values.insert(key.to_owned(), value);
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// The string under a key.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.problem(format!("`{key}`: expected a string, found {}", kind(&other)));
                None
            }
        }
    }

    /// The list under a key. It may also be JSON in a string, because some tables have no lists.
    pub(super) fn list(&mut self, key: &str, of: &str) -> Option<Vec<Value>> {
        match list(self.take(key)?) {
            Ok(values) => Some(values),
            Err(found) => {
                self.problem(format!("`{key}`: expected a list{of}, found {found}"));
                None
            }
        }
    }

    /// Tool definitions; empty if the key is absent or its text is empty, as in tables.
    pub(super) fn tools(&mut self) -> Vec<Value> {
        let is_none = |text: &str| ["", "null"].contains(&text.trim());
        if self.get("tools").and_then(Value::as_str).is_some_and(is_none) {
            self.remove("tools");
        }
        self.list("tools", "").unwrap_or_default()
    }

    /// `chat_template_kwargs`; empty if the key is absent. A null variable counts as absent, because tables have every
    /// key in every row.
    pub(super) fn template_variables(&mut self) -> Map<String, Value> {
        let found = match self.take(VARIABLES) {
            None => return Map::new(),
            Some(Value::String(text)) => exact::value(&text).unwrap_or(Value::String(text)),
            Some(value) => value,
        };
        let Value::Object(mut variables) = found else {
            let message = format!("`{VARIABLES}`: expected an object, found {}", kind(&found));
            self.problem(message);
            return Map::new();
        };
        variables.retain(|_, value| !value.is_null());
        for name in GIVEN.into_iter().filter(|name| variables.contains_key(*name)) {
            self.problem(format!("`{VARIABLES}.{name}`: a row cannot set this variable"));
        }
        variables
    }

    /// `weight`; 1 if it is absent.
    pub(super) fn weight(&mut self) -> f64 {
        let Some(value) = self.get("weight").filter(|_| self.has("weight")).cloned() else {
            return 1.0;
        };
        let number = match (&value, self.cells) {
            (Value::String(text), Cells::Text) => text.trim().parse().ok(),
            _ => value.as_f64(),
        };
        match number {
            Some(weight) if weight.is_finite() && weight >= 0.0 => weight,
            Some(weight) => {
                self.problem(format!(
                    "`weight`: expected a finite number of at least 0, found `{weight}`"
                ));
                1.0
            }
            None => {
                let found = kind(&value);
                self.problem(format!("`weight`: expected a number, found {found}"));
                1.0
            }
        }
    }

    /// The string or number under a key, as a string.
    pub(super) fn name(&mut self, key: &str) -> Option<String> {
        match self.get(key).filter(|_| self.has(key)).cloned()? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            other => {
                let found = kind(&other);
                self.problem(format!("`{key}`: expected a string or a number, found {found}"));
                None
            }
        }
    }
}

/// A list, or a list as JSON in a string; otherwise an error with what was found.
pub(super) fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(values) => Ok(values),
        Value::String(text) if text.trim_start().starts_with('[') => match exact::value(&text) {
            Ok(Value::Array(values)) => Ok(values),
            Ok(_) => Err("a string that is no JSON list".to_owned()),
            Err(reason) => Err(format!("a string that is no JSON list: {reason}")),
        },
        other => Err(kind(&other).to_owned()),
    }
}
