//! Errors between a data file and a batch.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::path::PathBuf;
use std::sync::Arc;

use cadft_files::{Hint, shown, visible_name};

use crate::row::{Place, Row};
use crate::shown::short;

/// Number of problems that an error message shows.
const SHOWN: usize = 20;

/// Number of problems that are kept; the others are only counted.
const KEPT: usize = 1000;

/// A problem of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: String,
    /// The place in the file.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do about it, if the message does not say so.
    pub hint: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(path: &str, place: Place, message: String) -> Self {
        Self {
            path: path.to_owned(),
            place,
            message,
            hint: None,
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, message) = (shown(&self.path), &self.message);
        match self.place {
            Place::File => write!(f, "{path}: {message}"),
            Place::Line(line) => write!(f, "{path}:{line}: {message}"),
            Place::Row(row) => write!(f, "{path}: row {row}: {message}"),
        }
    }
}

/// A row that was read correctly, but cannot be converted to tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// The row's id.
    pub id: String,
    /// The file of the row; empty if the row was not read from a file.
    pub file: Arc<str>,
    /// The place in that file.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

impl RowProblem {
    /// A problem of a row.
    pub fn new(row: &Row, message: String) -> Self {
        Self {
            id: row.id.clone(),
            file: Arc::clone(&row.file),
            place: row.place(),
            message,
        }
    }
}

impl Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            file,
            place,
            message,
        } = self;
        let (id, file) = (short(id), visible_name(file));
        match place {
            Place::File => write!(f, "{file}: row `{id}`: {message}"),
            Place::Line(line) if file.is_empty() => write!(f, "row `{id}` (line {line}): {message}"),
            Place::Line(line) => write!(f, "{file}:{line}: row `{id}`: {message}"),
            Place::Row(number) => write!(f, "{file}: row {number}, `{id}`: {message}"),
        }
    }
}

/// The first problems, and the number of further ones: a small file can cause millions.
#[derive(Debug)]
pub(crate) struct Problems<P> {
    first: Vec<P>,
    more: usize,
}

impl<P> Default for Problems<P> {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            more: 0,
        }
    }
}

impl<P> Problems<P> {
    pub(crate) fn push(&mut self, problem: P) {
        if self.first.len() < KEPT {
            self.first.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The first problems, and the number of further ones.
    pub(crate) fn into_parts(self) -> (Vec<P>, usize) {
        (self.first, self.more)
    }
}

impl<P> Extend<P> for Problems<P> {
    fn extend<T: IntoIterator<Item = P>>(&mut self, problems: T) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

impl Problems<Problem> {
    /// Returns `good`, or an error if there are any problems.
    pub(crate) fn or<T>(self, good: T) -> Result<T, DataError> {
        let (problems, more) = self.into_parts();
        if problems.is_empty() {
            Ok(good)
        } else {
            Err(DataError::Invalid { problems, more })
        }
    }
}

/// The hint for a file that does not exist.
const WHERE_PATHS_BEGIN: &str =
    "paths begin in the current directory, and those in a recipe's file also in the directory of that file";

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read.
    #[error("cannot read `{}`", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the writer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A data source that names no file, or is ambiguous.
    #[error("`{}`: {message}", shown(path))]
    Source {
        /// The source as it was written.
        path: String,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The problems of data files.
    #[error("{}", listed(problems, *more))]
    Invalid {
        /// The first problems, in the order of the files.
        problems: Vec<Problem>,
        /// Number of further problems.
        more: usize,
    },
    /// The problems of a data set's rows with this tokenizer and chat template.
    #[error("{}", listed(problems, *more))]
    Rows {
        /// The first problems, in the order of the rows.
        problems: Vec<RowProblem>,
        /// Number of further problems.
        more: usize,
        /// What to do about the first problem.
        hint: String,
    },
    /// No row has a token to train.
    #[error("nothing to train on: {message}")]
    NothingToTrain {
        /// The number of rows, and why they were dropped.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A file of the tokenizer directory is missing, malformed, or contradicts another.
    #[error("`{}`: {message}", shown(file))]
    Tokenizer {
        /// The file, and the key if there is one.
        file: String,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A conversation that the chat template cannot render, or whose trained turns cannot be located.
    #[error("{message}")]
    Conversation {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The tokenizer failed on a text or on token ids.
    #[error("the tokenizer failed")]
    Encoding {
        /// The error of the tokenizer.
        source: tokenizers::Error,
    },
}

impl Hint for DataError {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        let hint = match self {
            Self::Io { path, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                return vec![match cadft_files::similar(path) {
                    Some(similar) => format!("did you mean `{}`?", shown(&similar)).into(),
                    None => WHERE_PATHS_BEGIN.into(),
                }];
            }
            Self::Io { .. } | Self::Write { .. } | Self::Encoding { .. } => return Vec::new(),
            Self::Invalid { problems, .. } => hint_of(problems),
            Self::Source { hint, .. }
            | Self::Rows { hint, .. }
            | Self::NothingToTrain { hint, .. }
            | Self::Tokenizer { hint, .. }
            | Self::Conversation { hint, .. } => hint,
        };
        vec![hint.into()]
    }

    fn is_input(&self) -> bool {
        !matches!(self, Self::Write { .. })
    }
}

/// The hint for rows of an unknown format.
pub(crate) const FORMAT_HINT: &str = "every row has `messages`, `conversations`, `prompt` and `completion`, \
                                      `instruction` and `output`, or `text`; columns of other names can be mapped \
                                      to these";

/// The hint of the first shown problem that has one.
fn hint_of(problems: &[Problem]) -> &'static str {
    problems
        .iter()
        .take(SHOWN)
        .find_map(|problem| problem.hint)
        .unwrap_or("`cadft data validate` lists everything that is wrong with data, each with its place")
}

fn listed(problems: &[impl Display], more: usize) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().take(SHOWN).enumerate() {
        let newline = if index == 0 { "" } else { "\n" };
        let _ = write!(text, "{newline}{problem}");
    }
    let hidden = problems.len().saturating_sub(SHOWN) + more;
    if hidden > 0 {
        let _ = write!(text, "\n... and {hidden} more");
    }
    text
}
