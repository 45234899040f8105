//! Where rows come from: files, directories and globs, each with a format and a weight, and mixtures of them.

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

/// Where rows come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Source {
    /// A file, a directory, or a glob such as `data/*.jsonl.gz`.
    pub path: String,
    /// The format of every row; without one, the keys of each row tell.
    pub format: Option<Format>,
    /// Names of columns other than the format's own.
    pub columns: Columns,
    /// How often its rows come, in proportion to the other sources'; see [`Mixing`].
    pub weight: Option<f64>,
    /// Which files of a directory: those of this split.
    pub split: Option<String>,
    /// Which part of a data set: this of the `configs` that its `README.md` has.
    pub config: Option<String>,
}

impl Source {
    /// A source that is only a path.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// The files, sorted by path.
    ///
    /// # Errors
    /// [`DataError::Source`] when there is none, or when it is not clear which files of a directory are meant.
    pub fn files(&self) -> Result<Vec<PathBuf>, DataError> {
        files::of(self)
    }

    /// Whether it can be read only once.
    pub(crate) fn is_pipe(&self) -> bool {
        matches!(read::is_file(Path::new(&self.path)), Ok(false))
    }

    /// The rows of its files, one after the other.
    ///
    /// # Errors
    /// As [`Source::files`]. What is wrong within the files is among the rows.
    pub fn rows(&self) -> Result<Rows, DataError> {
        rows(std::slice::from_ref(self), &Mixing::default())
    }
}

impl From<&str> for Source {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

/// The rows of several sources: one after the other, or mixed where any of them has a weight.
///
/// One record is in memory at a time. An item is a row, or something that is wrong with a file in its place.
///
/// # Errors
/// As [`Source::files`], and [`DataError::Source`] for a weight that is not above 0.
pub fn rows(sources: &[Source], mixing: &Mixing) -> Result<Rows, DataError> {
    mixture::rows(sources, mixing)
}

/// All rows of several sources, in the order of [`rows`].
///
/// # Errors
/// As [`rows`], and [`DataError::Invalid`] with every problem of every file.
pub fn read_rows(sources: &[Source], mixing: &Mixing) -> Result<Vec<Row>, DataError> {
    read::collect(rows(sources, mixing)?)
}

/// The first `limit` rows for which `is_wanted` is true, in the order of [`rows`]; of the others, none is held.
///
/// # Errors
/// As [`rows`], and [`DataError::Invalid`] with every problem up to the last row that was looked at.
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
    /// The file that is opened next.
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

    /// Begins again with the first file.
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
