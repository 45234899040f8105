//! What can go wrong between a data file and a batch.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::path::PathBuf;
use std::sync::Arc;

use cadft_files::{Hint, shown, visible_name};

use crate::row::{Place, Row};
use crate::shown::short;

/// How many problems an error message spells out.
const SHOWN: usize = 20;

/// How many problems are kept; the others are counted.
const KEPT: usize = 1000;

/// One thing wrong with a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where the message does not say it.
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

/// One row that was read well but cannot be turned into tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// The row's id.
    pub id: String,
    /// The file it came from; empty for a row that was not read.
    pub file: Arc<str>,
    /// Where it is in that file.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

impl RowProblem {
    /// What is wrong with a row.
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

/// The first problems, and how many more there are: a small file can hold millions.
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

    /// The first problems, and the number of the others.
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
    /// The rows, unless something was wrong with a file.
    pub(crate) fn or<T>(self, good: T) -> Result<T, DataError> {
        let (problems, more) = self.into_parts();
        if problems.is_empty() {
            Ok(good)
        } else {
            Err(DataError::Invalid { problems, more })
        }
    }
}

/// What to do about a file that is not there.
const WHERE_PATHS_BEGIN: &str =
    "paths begin in the current directory, and those in a recipe's file also in the directory of that file";

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read.
    #[error("cannot read `{}`", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A data source that names no file, or not clearly which.
    #[error("`{}`: {message}", shown(path))]
    Source {
        /// The source as it was given.
        path: String,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// Everything that is wrong with the data files.
    #[error("{}", listed(problems, *more))]
    Invalid {
        /// The first problems, in the order of the files.
        problems: Vec<Problem>,
        /// How many more there are.
        more: usize,
    },
    /// Everything that is wrong with the rows of a data set under this tokenizer and chat template.
    #[error("{}", listed(problems, *more))]
    Rows {
        /// The first problems, in the order of the rows.
        problems: Vec<RowProblem>,
        /// How many more there are.
        more: usize,
        /// What to do about the first of them.
        hint: String,
    },
    /// No row has a token to learn from.
    #[error("nothing to train on: {message}")]
    NothingToTrain {
        /// How many rows there were and why they were dropped.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A file of the tokenizer directory is missing, malformed or contradicts another.
    #[error("`{}`: {message}", shown(file))]
    Tokenizer {
        /// The file, and the key where there is one.
        file: String,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A conversation that the chat template cannot render, or whose trained turns cannot be found.
    #[error("{message}")]
    Conversation {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The tokenizer failed on a text or on ids.
    #[error("the tokenizer failed")]
    Encoding {
        /// What it said.
        source: tokenizers::Error,
    },
}

impl Hint for DataError {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        let hint = match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => WHERE_PATHS_BEGIN,
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

/// What to do about rows of no format.
pub(crate) const FORMAT_HINT: &str = "every row has `messages`, `conversations`, `prompt` and `completion`, \
                                      `instruction` and `output`, or `text`; columns of other names can be mapped \
                                      to these";

/// The hint of the first problem shown that has one.
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
