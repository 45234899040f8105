//! The output of commands on standard output.

use crate::closed;
use crate::grid;
use crate::shown::Shown;
use anyhow::{Context, Result};
use cadft_files::{visible_json, visible_name, visible_text};
use comfy_table::Table;
use console::Term;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Prints a value as one line of JSON. On a terminal, hidden characters are escaped.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<()> {
    json(&(serde_json::to_string(value)? + "\n"))
}

/// Prints JSON.
pub(crate) fn json(text: &str) -> Result<()> {
    if io::stdout().is_terminal() {
        return write(&visible_json(text));
    }
    write(text)
}

/// Prints one or more lines.
pub(crate) fn line(text: impl Into<Shown>) -> Result<()> {
    write(text.into().and("\n").as_str())
}

/// Prints text for another program unchanged: an answer of a model, or a recipe. Only on a terminal are hidden
/// characters escaped.
pub(crate) fn exact(text: &str) -> Result<()> {
    if io::stdout().is_terminal() {
        return write(&visible_text(text));
    }
    write(text)
}

/// Prints a table of two columns: names and values.
pub(crate) fn table(rows: &[(&str, String)]) -> Result<()> {
    let shown = |text| visible_name(text).into_owned();
    let pairs: Vec<_> = rows
        .iter()
        .map(|(name, value)| (shown(name), shown(value)))
        .collect();
    write(&grid::pairs_of(&pairs, grid::columns(&Term::stdout())))
}

/// Prints a table with a header.
pub(crate) fn grid(table: &Table) -> Result<()> {
    line(grid::grid(table, grid::columns(&Term::stdout())))
}

fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    closed::refuse_stdout()
        .and_then(|()| out.write_all(text.as_bytes()))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
