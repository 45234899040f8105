//! Recipes and environments of runs, side by side.

use super::run::{Run, plain};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A key and every run's value of it.
#[derive(Serialize)]
pub(super) struct Setting {
    key: String,
    /// Empty where a run has none.
    values: Vec<String>,
    /// Whether the runs differ.
    differs: bool,
}

/// Every key that any run has, with the values of all.
pub(super) fn compare(runs: &[Run], of: impl Fn(&Run) -> &BTreeMap<String, String>) -> Vec<Setting> {
    let tables: Vec<_> = runs.iter().map(of).collect();
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

/// The values of a tree of tables by dotted key.
pub(super) fn flatten(value: &Value) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    collect("", value, &mut settings);
    settings
}

fn collect(path: &str, value: &Value, settings: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(table) if path.is_empty() || !table.is_empty() => {
            for (key, value) in table {
                let dot = if path.is_empty() { "" } else { "." };
                collect(&format!("{path}{dot}{key}"), value, settings);
            }
        }
        Value::Null => {}
        Value::Array(values) if values.iter().all(Value::is_string) => {
            let values: Vec<String> = values.iter().map(plain).collect();
            settings.insert(path.to_owned(), values.join(" "));
        }
        value => {
            settings.insert(path.to_owned(), plain(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_become_dotted_keys() {
        let flat = flatten(&json!({"a": {"b": 1, "c": {}}, "d": ["x", "y"], "e": null}));
        let expected = [("a.b", "1"), ("a.c", "{}"), ("d", "x y")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(flat, BTreeMap::from(expected));
        assert!(flatten(&Value::Null).is_empty());
    }
}
