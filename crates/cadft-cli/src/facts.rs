//! The JSON output of commands that write something. The reference page is generated from these types.

use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// `cadft data convert`, `cadft rewrite export`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WrittenRows {
    /// The file.
    pub(crate) out: String,
    /// Its rows.
    pub(crate) rows: usize,
    /// Those with another text than the data had; only of `rewrite export`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rewritten: Option<usize>,
}

/// `cadft data corrupt`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Corrupted {
    /// The file.
    pub(crate) out: String,
    /// Its rows.
    pub(crate) rows: usize,
    /// How many have planted noise, by its kind.
    pub(crate) planted: BTreeMap<&'static str, usize>,
}

/// `cadft model convert`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Converted {
    /// The directory or file.
    pub(crate) out: String,
    /// The number format of the weights.
    pub(crate) dtype: String,
    /// Parameters that were written; absent where no GGUF file is involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<usize>,
    /// The largest difference of a logit before and after, relative to the largest logit; with `--to gguf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) difference: Option<f64>,
    /// With `--to gguf` and `--data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) perplexity: Option<Perplexities>,
}

/// The perplexity of the same samples under two models.
#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct Perplexities {
    /// Of the model as it was.
    pub(crate) before: f64,
    /// Of the model as the file has it.
    pub(crate) after: f64,
}

/// `cadft model merge`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Merged {
    /// The directory that was written.
    pub(crate) out: String,
    /// The model.
    pub(crate) model: String,
    /// The adapter that was added into it.
    pub(crate) adapter: String,
    /// The largest difference of a logit before and after, relative to the largest logit.
    pub(crate) difference: f64,
}

/// `cadft report`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WrittenPage {
    /// The page.
    pub(crate) out: String,
}

/// `cadft rewrite diff`, one object a sample.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Rewritten<'a> {
    /// The sample.
    pub(crate) id: &'a str,
    /// The step after which it was rewritten.
    pub(crate) step: usize,
    /// What it asks; absent where the data are no longer where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<&'a str>,
    /// Its text before.
    pub(crate) old: &'a str,
    /// Its text now.
    pub(crate) new: &'a str,
}

/// `cadft rewrite undo`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Undone {
    /// Rewrites that were undone.
    pub(crate) undone: usize,
}
