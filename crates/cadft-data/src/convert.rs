//! Converts rows to another format and another kind of file, without losing anything that is trained.
//!
//! Every record is read back before it is written. A row is refused, with the reason, unless this gives the same
//! conversation, trained turns, `id`, `weight` and `answer`. Keys that are not part of a row are dropped.

mod output;
mod parquet;
mod record;

pub(crate) use record::of as record_of;

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{DataError, Problem, Problems};
use crate::format::Format;
use crate::row::Row;
use crate::source::{Mixing, Source, rows};
use output::{Kind, Output};
use parquet::Schema;

/// Writes all rows of the sources to a file in one format. The file extension decides the kind of file: `.jsonl`,
/// `.json`, `.csv`, `.tsv` (each also with `.gz` or `.zst`) or `.parquet`. Returns the number of rows.
///
/// The sources are read twice, so that nothing is written if a row cannot be converted.
///
/// # Errors
/// [`DataError::Invalid`] with all problems of the files and all rows that would lose something, [`DataError::Source`]
/// for an unknown extension or a pipe, [`DataError::Write`] if the file cannot be written.
pub fn convert(sources: &[Source], format: Format, out: &Path) -> Result<usize, DataError> {
    let kind = Kind::of(out)?;
    if let Some(pipe) = sources.iter().find(|source| source.is_pipe()) {
        return Err(DataError::Source {
            path: pipe.path.clone(),
            message: "this is a pipe, and what is converted is read twice".to_owned(),
            hint: "write it to a file first".to_owned(),
        });
    }
    let mixing = Mixing::default();
    let (mut schema, mut problems, mut count) = (Schema::default(), Problems::default(), 0);
    for row in rows(sources, &mixing)? {
        let checked = row.and_then(|row| {
            let record = record(&row, format, kind).map_err(|message| problem(&row, message))?;
            schema.add(&record);
            Ok(())
        });
        match checked {
            Ok(()) => count += 1,
            Err(problem) => problems.push(problem),
        }
    }
    problems.or(())?;
    let mut output = Output::create(out, kind, &schema)?;
    for row in rows(sources, &mixing)? {
        let written =
            row.and_then(|row| record(&row, format, kind).map_err(|message| problem(&row, message)));
        match written {
            Ok(record) => output.write(record)?,
            // The files have changed since the check.
            Err(problem) => {
                return Err(DataError::Invalid {
                    problems: vec![problem],
                    more: 0,
                });
            }
        }
    }
    output.finish()?;
    Ok(count)
}

/// The record of a row, with values as this kind of file stores them.
fn record(row: &Row, format: Format, kind: Kind) -> Result<Map<String, Value>, String> {
    let record = record::of(row, format)?;
    let cells = kind.cells(record);
    record::check(row, format, &cells, kind.reads())?;
    Ok(cells)
}

fn problem(row: &Row, message: String) -> Problem {
    Problem::new(&row.file, row.place(), message)
}
