//! Sources of rows: files, directories and globs, each with a format and a weight, and mixtures of sources.

mod card;
mod content;
mod files;
mod mixture;
mod recipe;
mod split;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{DataError, Problem};
use crate::format::{Columns, Format, Shape};
use crate::read::{self, FileRows};
use crate::row::{Place, Row};
pub use mixture::{Mixing, Rows, StoppingStrategy};

/// A source of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Source {
    /// A file, a directory, or a glob such as `data/*.jsonl.gz`.
    pub path: String,
    /// The format of every row; if it is absent, the keys of each row decide.
    pub format: Option<Format>,
    /// Column names that differ from the keys of the format.
    pub columns: Columns,
    /// How often its rows occur, in proportion to the other sources; see [`Mixing`].
    pub weight: Option<f64>,
    /// The split whose files are read from a directory.
    pub split: Option<String>,
    /// The configuration of a data set, from the `configs` in its `README.md`.
    pub config: Option<String>,
}

impl Source {
    /// A source with only a path.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// The files of the source, sorted by path.
    ///
    /// # Errors
    /// [`DataError::Source`] if there are no files, or if it is ambiguous which files of a directory to read.
    pub fn files(&self) -> Result<Vec<PathBuf>, DataError> {
        files::of(self)
    }

    /// Whether the source can be read only once.
    pub(crate) fn is_pipe(&self) -> bool {
        matches!(read::is_file(Path::new(&self.path)), Ok(false))
    }

    /// The rows of the files, one file after the other.
    ///
    /// # Errors
    /// As [`Source::files`]. Problems within the files are items of the result.
    pub fn rows(&self) -> Result<Rows, DataError> {
        rows(std::slice::from_ref(self), &Mixing::default())
    }
}

impl From<&str> for Source {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

/// The rows of several sources: one source after the other, or mixed if any source has a weight.
///
/// Only one record is in memory at a time. An item is a row, or a problem of a file in its place.
///
/// # Errors
/// As [`Source::files`]; [`DataError::Source`] for a weight that is not above 0.
pub fn rows(sources: &[Source], mixing: &Mixing) -> Result<Rows, DataError> {
    mixture::rows(sources, mixing)
}

/// Reads all rows of several sources, in the order of [`rows`].
///
/// # Errors
/// As [`rows`]; [`DataError::Invalid`] with all problems of all files.
pub fn read_rows(sources: &[Source], mixing: &Mixing) -> Result<Vec<Row>, DataError> {
    read::collect(rows(sources, mixing)?)
}

/// The first `limit` rows for which `is_wanted` is true, in the order of [`rows`]. Other rows are not kept.
///
/// # Errors
/// As [`rows`]; [`DataError::Invalid`] with all problems up to the last row that was read.
pub fn first_rows(
    sources: &[Source],
    mixing: &Mixing,
    limit: usize,
    is_wanted: impl Fn(&Row) -> bool,
) -> Result<Vec<Row>, DataError> {
    let (mut rows, mut left) = (rows(sources, mixing)?, limit);
    read::collect(std::iter::from_fn(|| {
        while left > 0 {
            match rows.next()? {
                Ok(row) if !is_wanted(&row) => {}
                item => {
                    left -= usize::from(item.is_ok());
                    return Some(item);
                }
            }
        }
        None
    }))
}

/// The rows of a source's files.
struct SourceRows {
    index: usize,
    files: Arc<[PathBuf]>,
    shape: Arc<Shape>,
    /// The index of the next file to open.
    next: usize,
    current: Option<FileRows>,
}

impl SourceRows {
    fn new(index: usize, source: &Source) -> Result<Self, DataError> {
        Ok(Self {
            index,
            files: source.files()?.into(),
            shape: Arc::new(Shape {
                format: source.format,
                columns: source.columns.clone(),
            }),
            next: 0,
            current: None,
        })
    }

    /// Starts again with the first file.
    fn restart(&mut self) {
        self.next = 0;
        self.current = None;
    }
}

impl Iterator for SourceRows {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.current.as_mut().and_then(Iterator::next) {
                return Some(item);
            }
            let path = self.files.get(self.next)?;
            self.next += 1;
            let name = path.display().to_string();
            match read::open(path, &self.shape) {
                Ok(opened) => {
                    let shape = Arc::clone(&self.shape);
                    self.current = Some(FileRows::new(&name, self.index, opened, shape));
                }
                Err(error) => {
                    let message = format!("cannot be opened: {error}");
                    return Some(Err(Problem::new(&name, Place::File, message)));
                }
            }
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> DataError {
    DataError::Io {
        path: path.to_owned(),
        source,
    }
}

fn error(source: &Source, message: &str, hint: &str) -> DataError {
    DataError::Source {
        path: source.path.clone(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}
