//! The generated parts of the book's reference pages: commands, recipes and events, from the code itself.

mod commands;
mod events;
mod json;
mod recipe;
mod schema;

use std::collections::BTreeMap;

/// The generated parts, Markdown by name. `cargo xtask reference` puts each between the marks with its name.
pub(crate) fn blocks() -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::from([("commands".to_owned(), commands::markdown())]);
    blocks.extend(recipe::blocks());
    blocks.extend(events::blocks());
    blocks.insert("json".to_owned(), json::markdown());
    blocks
}

/// Text for a table cell: one line, with `|` escaped.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
