//! Reads a JSON object key by key, and collects all problems instead of stopping at the first.

use serde_json::{Map, Value};
use std::ops::RangeInclusive;

use crate::json::show;

/// The largest size: the product of any two sizes is far from overflow.
const MAX_SIZE: u64 = 1 << 26;
/// The plausible range of numbers: the smallest is normal in f32, and the product of any two does not overflow.
const SENSIBLE: RangeInclusive<f64> = 1e-30..=1e15;

/// Reads values with defaults. A value of the wrong kind becomes a problem, and the default is used.
pub(super) struct Object<'a> {
    values: &'a Map<String, Value>,
    prefix: String,
    problems: Vec<String>,
}

impl<'a> Object<'a> {
    pub(super) fn new(values: &'a Map<String, Value>) -> Self {
        Self {
            values,
            prefix: String::new(),
            problems: Vec::new(),
        }
    }

    /// The object under `key`. Its problems are reported as `key.inner`.
    pub(super) fn nested(&mut self, key: &str) -> Option<Object<'a>> {
        match self.get(key)? {
            Value::Object(values) => Some(Object {
                values,
                prefix: format!("{}{key}.", self.prefix),
                problems: Vec::new(),
            }),
            other => {
                self.wrong(key, other, "an object");
                None
            }
        }
    }

    /// An object merged from several places. Its problems are reported as `place.inner`.
    pub(super) fn nested_in(values: &'a Map<String, Value>, place: &str) -> Self {
        Self {
            values,
            prefix: format!("{place}."),
            problems: Vec::new(),
        }
    }

    /// All keys and values.
    pub(super) fn values(&self) -> &'a Map<String, Value> {
        self.values
    }

    /// The value of `key`; `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is present and `null`.
    pub(super) fn is_null(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(Value::is_null)
    }

    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Adds the problems of a nested object.
    pub(super) fn absorb(&mut self, nested: Object<'_>) {
        self.problems.extend(nested.problems);
    }

    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }

    /// A required positive integer; 1 if it is absent or wrong, which is recorded as a problem.
    pub(super) fn required(&mut self, key: &str) -> usize {
        if self.get(key).is_none() {
            self.missing(key);
        }
        self.positive(key, 1)
    }

    pub(super) fn positive(&mut self, key: &str, default: usize) -> usize {
        let Some(value) = self.get(key) else {
            return default;
        };
        match value.as_u64() {
            Some(number @ 1..=MAX_SIZE) => number as usize,
            found => {
                let expected = if found.is_some_and(|number| number > MAX_SIZE) {
                    "a size of at most 67108864"
                } else {
                    "a positive integer"
                };
                self.wrong(key, value, expected);
                default.max(1)
            }
        }
    }

    /// A non-negative integer.
    pub(super) fn whole(&mut self, key: &str, default: usize) -> usize {
        let Some(value) = self.get(key) else {
            return default;
        };
        match value.as_u64() {
            Some(number @ 0..=MAX_SIZE) => number as usize,
            _ => {
                self.wrong(key, value, "an integer");
                default
            }
        }
    }

    /// A number: 0, or in the plausible range.
    pub(super) fn number(&mut self, key: &str, default: f64) -> f64 {
        let Some(value) = self.get(key) else {
            return default;
        };
        let is_sensible = |&number: &f64| number == 0.0 || SENSIBLE.contains(&number.abs());
        value.as_f64().filter(is_sensible).unwrap_or_else(|| {
            self.wrong(key, value, "a number");
            default
        })
    }

    /// A non-negative number.
    pub(super) fn number_from_zero(&mut self, key: &str, default: f64) -> f64 {
        let number = self.number(key, default);
        if number >= 0.0 {
            return number;
        }
        self.problem(format!("`{}{key}` is `{number}`; it is below zero", self.prefix));
        default
    }

    /// A positive number; `None` if absent.
    pub(super) fn optional_number(&mut self, key: &str) -> Option<f64> {
        self.get(key)?;
        Some(self.required_number(key))
    }

    /// A required positive number; 1 if it is absent or wrong, which is recorded as a problem.
    pub(super) fn required_number(&mut self, key: &str) -> f64 {
        let Some(value) = self.get(key) else {
            self.missing(key);
            return 1.0;
        };
        value
            .as_f64()
            .filter(|number| SENSIBLE.contains(number))
            .unwrap_or_else(|| {
                self.wrong(key, value, "a number above zero");
                1.0
            })
    }

    /// A required list of positive numbers; empty if it is absent or wrong, which is recorded as a problem.
    pub(super) fn required_numbers(&mut self, key: &str) -> Vec<f64> {
        let Some(value) = self.get(key) else {
            self.missing(key);
            return Vec::new();
        };
        let is_sensible = |number: &f64| SENSIBLE.contains(number);
        let numbers = value.as_array().and_then(|values| {
            let numbers = values.iter().map(|value| value.as_f64().filter(is_sensible));
            numbers.collect::<Option<Vec<_>>>()
        });
        numbers.unwrap_or_else(|| {
            self.wrong(key, value, "a list of numbers above zero");
            Vec::new()
        })
    }

    /// A boolean; `false` if absent.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// A boolean; `default` if absent.
    pub(super) fn flag_or(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(key, value, "`true` or `false`");
            default
        })
    }

    pub(super) fn text(&mut self, key: &str) -> Option<&'a str> {
        let value = self.get(key)?;
        if !value.is_string() {
            self.wrong(key, value, "a string");
        }
        value.as_str()
    }

    /// One token id or a list of them; −1, which some files write for "none", counts as absent.
    pub(super) fn token_ids(&mut self, key: &str) -> Vec<u32> {
        let Some(value) = self.get(key).filter(|value| value.as_i64() != Some(-1)) else {
            return Vec::new();
        };
        let ids = match value {
            Value::Array(values) => values.iter().map(token_id).collect(),
            one => token_id(one).map(|id| vec![id]),
        };
        ids.unwrap_or_else(|| {
            self.wrong(key, value, "a token id or a list of token ids");
            Vec::new()
        })
    }

    pub(super) fn expect_text(&mut self, key: &str, supported: &[&str], default: Option<&str>) {
        match self.get(key) {
            None if default.is_none() => self.missing(key),
            Some(value) if value.as_str().is_none_or(|text| !supported.contains(&text)) => {
                let supported = supported
                    .iter()
                    .map(|text| format!("`{text}`"))
                    .collect::<Vec<_>>();
                let problem = format!(
                    "`{key}` is `{}`; supported: {}",
                    show(value),
                    supported.join(", ")
                );
                self.problem(problem);
            }
            _ => {}
        }
    }

    pub(super) fn expect_number(&mut self, key: &str, supported: f64) {
        if let Some(value) = self.get(key)
            && value.as_f64() != Some(supported)
        {
            self.problem(format!(
                "`{}{key}` is `{}`; supported: `{supported:?}`",
                self.prefix,
                show(value)
            ));
        }
    }

    pub(super) fn expect_absent(&mut self, key: &str) {
        if let Some(value) = self.get(key) {
            let prefix = &self.prefix;
            self.problem(format!(
                "`{prefix}{key}` is `{}`; it is not supported",
                show(value)
            ));
        }
    }

    /// Records a problem if the value is `true`.
    pub(super) fn expect_off(&mut self, key: &str) {
        if self.flag(key) {
            self.problem(format!("`{}{key}` is `true`; it is not supported", self.prefix));
        }
    }

    /// Records a problem for every key that is in neither list.
    pub(super) fn expect_keys(&mut self, known: &[&str], without_effect: &[&str]) {
        for (key, value) in self.values {
            if !known.contains(&key.as_str()) && !without_effect.contains(&key.as_str()) {
                self.problem(format!(
                    "`{}{}` is `{}`; it is not supported",
                    self.prefix,
                    crate::shown::cut(key),
                    show(value)
                ));
            }
        }
    }

    fn missing(&mut self, key: &str) {
        self.problem(format!("`{}{key}` is missing", self.prefix));
    }

    fn wrong(&mut self, key: &str, value: &Value, expected: &str) {
        self.problem(format!(
            "`{}{key}` is `{}`; expected {expected}",
            self.prefix,
            show(value)
        ));
    }
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
