//! Compares the recipes and environments of runs.

use super::text::plain;
use cadft_train::dotted;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A key, with its value in every run.
#[derive(Serialize)]
pub(super) struct Setting {
    key: String,
    /// One value for each run; empty if the run has no such key.
    values: Vec<String>,
    /// Whether the values differ.
    differs: bool,
}

/// The union of the keys of all runs, with their values.
pub(super) fn compare<'a>(runs: impl Iterator<Item = &'a BTreeMap<String, String>>) -> Vec<Setting> {
    let tables: Vec<_> = runs.collect();
    let keys: BTreeSet<&String> = tables.iter().flat_map(|table| table.keys()).collect();
    keys.into_iter()
        .map(|key| {
            let values: Vec<String> = tables
                .iter()
                .map(|table| table.get(key).cloned().unwrap_or_default())
                .collect();
            Setting {
                key: key.clone(),
                differs: values.windows(2).any(|pair| pair[0] != pair[1]),
                values,
            }
        })
        .collect()
}

/// The values of nested tables by dotted key, as text. `null` values are left out.
pub(super) fn flatten(table: &Value) -> BTreeMap<String, String> {
    (dotted::flatten(table).into_iter())
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key, text(&value)))
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Array(values) if values.iter().all(Value::is_string) => {
            let values: Vec<String> = values.iter().map(plain).collect();
            values.join(" ")
        }
        value => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_text_and_what_is_absent_is_left_out() {
        let flat = flatten(&json!({"a": {"b": 1, "c": {}}, "d": ["x", "y"], "e": null}));
        let expected = [("a.b", "1"), ("a.c", "{}"), ("d", "x y")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(flat, BTreeMap::from(expected));
        assert!(flatten(&Value::Null).is_empty());
    }
}
