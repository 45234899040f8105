//! What commands print with `--json`: a table of keys for each, from the types that are printed.

use super::cell;
use super::schema::{meaning, properties};
use crate::command::schemas;
use serde_json::Value;
use std::fmt::Write as _;

/// Commands whose keys are on a page of their own.
const ELSEWHERE: [&str; 3] = ["train", "train --dry-run", "recipe show"];

/// One part a command.
pub(super) fn markdown() -> String {
    let mut text = String::new();
    for (name, schema) in schemas() {
        if !ELSEWHERE.contains(&name) {
            let _ = write!(
                text,
                "### `{name} --json`\n\n| key | type | meaning |\n|---|---|---|\n{}\n",
                rows("", &schema)
            );
        }
    }
    text
}

/// One row a key; those of what is within an object or a list follow, after its name and a dot.
fn rows(before: &str, schema: &Value) -> String {
    let mut text = String::new();
    let alternatives = ["oneOf", "anyOf"]
        .iter()
        .filter_map(|key| schema[*key].as_array());
    let objects: Vec<&Value> = match alternatives.flatten().collect::<Vec<_>>() {
        all if schema["properties"].is_object() => [vec![schema], all].concat(),
        all => all,
    };
    let mut seen = vec![];
    for (key, of) in objects.iter().filter_map(|object| properties(object)).flatten() {
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let _ = writeln!(
            text,
            "| `{before}{key}` | {} | {} |",
            type_of(of),
            cell(meaning(of).trim_end_matches('.'))
        );
        let within = if of["items"].is_object() { &of["items"] } else { of };
        if properties(within).is_some() {
            text += &rows(&format!("{before}{key}."), within);
        }
    }
    text
}

/// The type of a value, as JSON has it.
fn type_of(schema: &Value) -> String {
    let one = |name: &str| match name {
        "integer" => "whole number".to_owned(),
        "boolean" => "true, false".to_owned(),
        "array" => match &schema["items"] {
            Value::Object(_) => format!("list of {}", type_of(&schema["items"])),
            _ => "list".to_owned(),
        },
        name => name.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => {
            let is_number = names.iter().any(|name| name == "number");
            let names = names.iter().filter_map(Value::as_str);
            // That a number which is none is `null` is said once, above.
            let names = names.filter(|name| !(is_number && *name == "null"));
            names.map(one).collect::<Vec<_>>().join(", ")
        }
        _ if schema["const"].is_string() => "string".to_owned(),
        _ => {
            let parts = ["anyOf", "oneOf"]
                .iter()
                .filter_map(|key| schema[*key].as_array());
            let mut names: Vec<_> = parts.flatten().map(type_of).collect();
            names.dedup();
            if names.is_empty() {
                names.push("any".to_owned());
            }
            names.join(", ")
        }
    }
}
