//! Tables on a terminal: as they are where they fit, and row after row where it is too narrow. Lines are broken between words only.

use comfy_table::{Row, Table};
use console::{Term, measure_text_width};
use std::fmt::Write;

/// Columns between a name and its value.
const GAP: usize = 2;
/// The narrowest value that is broken into lines of its own.
const NARROWEST: usize = 12;

/// The columns of the terminal that `term` writes to; `None` where it is none.
pub(crate) fn columns(term: &Term) -> Option<usize> {
    let size = term.size_checked()?;
    Some(usize::from(size.1)).filter(|columns| *columns > 0)
}

/// A table with a header, on a terminal of `columns` columns.
pub(crate) fn grid(table: &Table, columns: Option<usize>) -> String {
    let text = table.trim_fmt();
    let is_wide = |columns| text.lines().any(|line| measure_text_width(line) > columns);
    match (table.header(), columns) {
        (Some(header), Some(columns)) if is_wide(columns) => {
            let names = cells(header);
            let rows = table.row_iter().map(|row| {
                let pairs: Vec<_> = names.iter().cloned().zip(cells(row)).collect();
                pairs_of(&pairs, Some(columns))
            });
            rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
        }
        _ => text,
    }
}

fn cells(row: &Row) -> Vec<String> {
    row.cell_iter()
        .map(|cell| cell.content().trim().to_owned())
        .collect()
}

/// Names and values in two columns, a line each or, where that is too wide, several; pairs without a value are left out.
pub(crate) fn pairs_of(pairs: &[(String, String)], columns: Option<usize>) -> String {
    let width = pairs
        .iter()
        .map(|(name, _)| measure_text_width(name))
        .max()
        .unwrap_or(0)
        + GAP;
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(width));
    let mut text = String::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        let indent = width - measure_text_width(name);
        let _ = write!(text, "{name}{:indent$}", "");
        let lines = broken(value, room);
        let _ = writeln!(text, "{}", lines.join(&format!("\n{:width$}", "")));
    }
    text
}

/// A text in lines of at most `room` columns, as far as its words are not wider.
fn broken(text: &str, room: usize) -> Vec<String> {
    if room < NARROWEST || measure_text_width(text) <= room {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
        } else if measure_text_width(line) + 1 + measure_text_width(word) <= room {
            *line += &format!(" {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use comfy_table::presets;

    fn table() -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["source", "rows", "tokens"]);
        table.add_row(["a.jsonl", "12 000", "7"]);
        table.add_row(["b.jsonl", "", "8"]);
        table
    }

    #[test]
    fn a_table_that_fits_is_as_it_is_and_one_that_does_not_goes_row_by_row() {
        let text = table().trim_fmt();
        assert_eq!(grid(&table(), Some(80)), text);
        assert_eq!(grid(&table(), None), text);
        assert_eq!(
            grid(&table(), Some(20)),
            "source  a.jsonl\nrows    12 000\ntokens  7\n\nsource  b.jsonl\ntokens  8"
        );
    }

    #[test]
    fn values_are_broken_between_words_only() {
        let pairs = [
            ("name".to_owned(), "one two three four five six".to_owned()),
            (
                "long".to_owned(),
                "runs/a-name-that-is-longer-than-the-terminal".to_owned(),
            ),
        ];
        assert_eq!(
            pairs_of(&pairs, Some(20)),
            "name  one two three\n      four five six\nlong  runs/a-name-that-is-longer-than-the-terminal\n"
        );
        assert_eq!(pairs_of(&pairs[..1], None), "name  one two three four five six\n");
        assert_eq!(
            pairs_of(&pairs[..1], Some(10)).lines().count(),
            1,
            "there is no room to break it"
        );
    }
}
