//! Where a sample was read.

use std::sync::Arc;

use crate::row::Row;

/// Where the row of a sample was read. Ids and lines are not unique among several files; the number of a row is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The position of its source in the list of sources that was read.
    pub source: usize,
    /// The position of its row among all rows that were read, those that were left out included.
    pub row: usize,
    /// The file; empty for a row that was not read from one.
    pub path: Arc<str>,
    /// Its line in that file, or its row number in a Parquet file, counted from 1.
    pub line: usize,
}

impl Origin {
    /// That of a row at position `number` among all rows.
    pub(super) fn new(row: &Row, number: usize) -> Self {
        Self {
            source: row.source,
            row: number,
            path: Arc::clone(&row.file),
            line: row.line,
        }
    }

    /// How a message names the sample `id` that is from here: with its place, since ids need not be unique.
    #[must_use]
    pub fn name_of(&self, id: &str) -> String {
        if self.path.is_empty() {
            format!("sample `{id}`")
        } else {
            format!("{}:{}: sample `{id}`", self.path, self.line)
        }
    }
}
