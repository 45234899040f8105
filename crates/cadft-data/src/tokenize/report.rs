//! The report on the rows of a data set.

use std::collections::BTreeMap;
use std::fmt;

use cadft_batch::Example;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Part, TokenizeOptions};
use crate::error::DataError;
use crate::row::Row;

/// What happened to the rows of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Number of rows.
    pub rows: usize,
    /// Number of examples.
    pub kept: usize,
    /// Number of examples that were truncated to `max_length`.
    pub truncated: usize,
    /// The rows without any target.
    pub dropped: Vec<DroppedSample>,
    /// Number of tokens of all examples.
    pub tokens: usize,
    /// Number of targets of all examples.
    pub supervised: usize,
    /// Number of tokens of the longest example.
    pub longest: usize,
    /// The largest token id.
    pub largest_id: u32,
    /// The same counts for every source, in the order of the sources.
    pub sources: Vec<SourceReport>,
    /// Number of examples for each part that the chat template does not show.
    pub lost: BTreeMap<Part, usize>,
}

/// What happened to the rows of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SourceReport {
    /// Number of rows.
    pub rows: usize,
    /// Number of examples.
    pub kept: usize,
    /// Number of examples that were truncated.
    pub truncated: usize,
    /// Number of dropped rows.
    pub dropped: usize,
    /// Number of tokens of the examples.
    pub tokens: usize,
    /// Number of targets of the examples.
    pub supervised: usize,
}

impl Report {
    /// Counts an example.
    pub(super) fn keep(&mut self, row: &Row, example: &Example, was_cut: bool) {
        let (tokens, supervised) = (example.token_ids.len(), example.supervised());
        self.rows += 1;
        self.kept += 1;
        self.truncated += usize::from(was_cut);
        self.tokens += tokens;
        self.supervised += supervised;
        self.longest = self.longest.max(tokens);
        let largest = example.token_ids.iter().copied().max().unwrap_or(0);
        self.largest_id = self.largest_id.max(largest);
        let source = self.source(row);
        source.rows += 1;
        source.kept += 1;
        source.truncated += usize::from(was_cut);
        source.tokens += tokens;
        source.supervised += supervised;
    }

    /// Counts the parts of an example that the chat template does not show.
    pub(super) fn lose(&mut self, parts: &[Part]) {
        for part in parts {
            *self.lost.entry(*part).or_default() += 1;
        }
    }

    /// Counts a dropped row.
    pub(super) fn drop(&mut self, row: &Row, reason: DropReason) {
        self.rows += 1;
        self.dropped.push(DroppedSample {
            id: row.id.clone(),
            line: row.line,
            reason,
        });
        let source = self.source(row);
        source.rows += 1;
        source.dropped += 1;
    }

    fn source(&mut self, row: &Row) -> &mut SourceReport {
        let index = row.source;
        if self.sources.len() <= index {
            self.sources.resize(index + 1, SourceReport::default());
        }
        &mut self.sources[index]
    }

    /// The error for a data set without any example.
    pub(super) fn nothing_to_train(&self, options: &TokenizeOptions) -> DataError {
        let count = |reason| {
            let dropped = self.dropped.iter();
            dropped.filter(|sample| sample.reason == reason).count()
        };
        let (truncated, too_long) = (count(DropReason::Truncated), count(DropReason::TooLong));
        let max_length = options.max_length;
        let too_long_ones = if too_long > 0 {
            format!("{too_long} longer than `max-length` {max_length}, ")
        } else {
            String::new()
        };
        DataError::NothingToTrain {
            message: format!(
                "{} rows, {truncated} of them trained only beyond `max-length` {max_length}, {too_long_ones}{} without a \
                 trained token",
                self.rows,
                count(DropReason::NothingTrained),
            ),
            hint: if truncated + too_long > 0 {
                "raise `max-length`, or shorten the prompts".to_owned()
            } else {
                "the rows need assistant turns, or another `mask`".to_owned()
            },
        }
    }
}

/// A dropped row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedSample {
    /// The row's id.
    pub id: String,
    /// The line in its file.
    pub line: usize,
    /// The reason.
    pub reason: DropReason,
}

/// Why a row was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// All its targets lie beyond `max_length`.
    Truncated,
    /// It is longer than `max_length`, and such rows are dropped.
    TooLong,
    /// The mask selects none of its tokens.
    NothingTrained,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "every trained token lies beyond the maximum length",
            Self::TooLong => "it is longer than the maximum length",
            Self::NothingTrained => "the mask selects no token",
        })
    }
}
