//! What the reference pages of the book say about commands, recipes and events, made from the code itself.

mod commands;
mod events;
mod facts;
mod recipe;
mod schema;

use std::collections::BTreeMap;

/// The generated parts of the pages, Markdown by name. `cargo xtask reference` puts them between the marks that name them.
pub(crate) fn blocks() -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::from([("commands".to_owned(), commands::markdown())]);
    blocks.extend(recipe::blocks());
    blocks.extend(events::blocks());
    blocks.insert("facts".to_owned(), facts::markdown());
    blocks
}

/// Text for a cell of a table: one line, with nothing that ends the cell.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
