//! The keys of recipes, from their JSON Schema.

use super::cell;
use super::schema::{meaning, properties, table};
use cadft_train::config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A block for each table of a recipe.
pub(super) fn blocks() -> BTreeMap<String, String> {
    let schema = config::schema();
    let mut blocks = BTreeMap::new();
    for (name, section) in properties(&schema).into_iter().flatten() {
        let text = match name.as_str() {
            "objective" => objectives(section),
            _ if properties(section).is_some() => table(section),
            _ => cell(&meaning(section)) + "\n",
        };
        blocks.insert(format!("recipe {name}"), text);
    }
    let source = &schema["properties"]["data"]["properties"]["train"]["anyOf"][0]["items"];
    blocks.insert("recipe source".to_owned(), table(source));
    blocks
}

/// The objectives and their settings.
fn objectives(schema: &Value) -> String {
    let mut text = String::new();
    let forms = schema["oneOf"].as_array().into_iter().flatten();
    for (name, settings) in forms.filter_map(properties).flatten() {
        let _ = write!(text, "**`[objective.{name}]`** {}\n\n", cell(&meaning(settings)));
        if properties(settings).is_some_and(|keys| !keys.is_empty()) {
            let _ = writeln!(text, "{}", table(settings));
        }
    }
    text.trim_end().to_owned() + "\n"
}
