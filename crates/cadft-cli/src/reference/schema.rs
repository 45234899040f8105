//! Tables of keys from a JSON Schema.

use super::cell;
use serde_json::{Map, Value};

/// A table of the keys of an object, with a column of defaults if any key has one.
pub(super) fn table(object: &Value) -> String {
    let keys: Vec<_> = properties(object).into_iter().flatten().collect();
    let has_defaults = keys.iter().any(|(_, of)| default(of).is_some());
    let rows = keys.iter().map(|(key, of)| {
        let meaning = cell(&meaning(of));
        if has_defaults {
            format!("| `{key}` | {} | {meaning} |\n", default(of).unwrap_or_default())
        } else {
            format!("| `{key}` | {meaning} |\n")
        }
    });
    let head = if has_defaults {
        "| key | default | meaning |\n|---|---|---|\n"
    } else {
        "| key | meaning |\n|---|---|\n"
    };
    rows.fold(head.to_owned(), |table, row| table + &row)
}

/// The properties of an object, which may be optional.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    let own = schema["properties"].as_object();
    own.or_else(|| alternatives(schema).find_map(properties))
}

/// The meaning of a key and, if it is an enumeration, of its values.
pub(super) fn meaning(schema: &Value) -> String {
    let mut text = schema["description"].as_str().unwrap_or_default().to_owned();
    let values = values(schema);
    if !values.is_empty() {
        text = format!("{} {}", text.trim_end(), values.join(" "));
    }
    text
}

/// The documented values of an enumeration.
fn values(schema: &Value) -> Vec<String> {
    let own = schema["const"].as_str().zip(schema["description"].as_str());
    match own {
        Some((value, about)) => vec![format!("`{value}`: {about}")],
        None => alternatives(schema).flat_map(values).collect(),
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|key| schema[key].as_array())
        .flatten()
}

/// The default in the spelling of a recipe; empty if the key is absent by default.
fn default(schema: &Value) -> Option<String> {
    match &schema["default"] {
        Value::Null | Value::Object(_) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            Some(format!("`[{}]`", items.join(", ")))
        }
        value => Some(format!("`{value}`")),
    }
}
