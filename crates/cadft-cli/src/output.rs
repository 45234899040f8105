//! What a command answers on standard output.

use anyhow::Result;
use serde::Serialize;
use std::io::{self, Write};

/// Prints a value as one line of JSON.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Prints a line.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints text as it is.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints names and values in two columns.
pub(crate) fn table(rows: &[(&str, String)]) -> Result<()> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: String = rows
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}\n"))
        .collect();
    text(&lines)
}
