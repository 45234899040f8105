//! A tokenised sample, and where it was read.

use std::sync::Arc;

/// A tokenised row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The row's id.
    pub id: String,
    /// The factor of the row's loss.
    pub weight: f64,
    /// The token ids.
    pub token_ids: Vec<u32>,
    /// Whether each token is a target, which is predicted from the tokens before it.
    pub loss_mask: Vec<bool>,
    /// Number of tokens before the first target.
    pub prompt_len: usize,
    /// The reference answer for evaluation by generation.
    pub answer: Option<String>,
    /// Where the row was read; no computation depends on it.
    pub origin: Origin,
}

impl Example {
    /// Number of targets.
    pub fn supervised(&self) -> usize {
        self.loss_mask.iter().filter(|&&trained| trained).count()
    }
}

/// The origin of a sample's row. Ids and lines may repeat across files; `row` is unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The index of the source in the list of sources.
    pub source: usize,
    /// The index of the row among all rows that were read, including dropped ones.
    pub row: usize,
    /// The file; empty if the row was not read from a file.
    pub path: Arc<str>,
    /// The line in that file, or the row number in a Parquet file, counted from 1.
    pub line: usize,
}

impl Origin {
    /// The name of the sample `id` in messages. It includes the place, because ids need not be unique.
    #[must_use]
    pub fn name_of(&self, id: &str) -> String {
        if self.path.is_empty() {
            format!("sample `{id}`")
        } else {
            format!("{}:{}: sample `{id}`", self.path, self.line)
        }
    }
}
