//! The `--json` output of commands that write something, from the types that are serialised.

use super::cell;
use super::events::schema;
use super::schema::properties;
use crate::facts::{Converted, Merged, Rewritten, Undone, WrittenPage, WrittenRows};
use serde_json::Value;

/// One row for each command: its keys and their meaning.
pub(super) fn markdown() -> String {
    let commands = [
        ("data convert`, `rewrite export", schema::<WrittenRows>()),
        ("model convert", schema::<Converted>()),
        ("model merge", schema::<Merged>()),
        ("report", schema::<WrittenPage>()),
        ("rewrite diff", schema::<Rewritten<'_>>()),
        ("rewrite undo", schema::<Undone>()),
    ];
    let rows = commands
        .iter()
        .map(|(name, schema)| format!("| `{name}` | {} |\n", keys(schema)));
    rows.fold("| command | keys |\n|---|---|\n".to_owned(), |table, row| {
        table + &row
    })
}

fn keys(schema: &Value) -> String {
    let keys = properties(schema).into_iter().flatten().map(|(key, of)| {
        let meaning = of["description"].as_str().unwrap_or_default();
        format!("`{key}`: {}", cell(meaning.trim_end_matches('.')))
    });
    keys.collect::<Vec<_>>().join("; ")
}
