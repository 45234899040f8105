//! Cuts a global batch into micro-batches and lists what each of them predicts.
//!
//! How a global batch is cut changes memory and speed, never the result: a target belongs to a sample, wherever in
//! a micro-batch that stands, and which tokens are padding is known from lengths, never from an id.

mod pack;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tokenize::Example;

/// How the samples of a global batch are put together into micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bucketing {
    /// Rows of similar length together, which saves padding. The loss does not depend on it.
    #[default]
    ByLength,
    /// In the order given.
    None,
}

/// Whether several samples share a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// Every sample has its row.
    #[default]
    None,
    /// Best-fit decreasing: the longest sample left goes into the fullest row that still has room for it.
    BestFit,
}

/// How a global batch is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Most rows of a micro-batch, where `max_tokens` does not say; at least one.
    pub micro: usize,
    /// Most tokens of a micro-batch, padding included. A sample that is longer makes one by itself.
    pub max_tokens: Option<usize>,
    /// Which rows go together.
    pub bucketing: Bucketing,
    /// Whether samples share rows.
    pub packing: Packing,
    /// Most tokens of a row that samples share.
    pub row_tokens: usize,
}

/// A micro-batch, its rows padded on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of rows.
    pub rows: usize,
    /// The number of columns: the length of the longest row.
    pub seq: usize,
    /// Row-major ids, `[rows * seq]`.
    pub token_ids: Vec<u32>,
    /// For each row, the lengths of the samples in it, from the left; the rest of the row is padding.
    pub segments: Vec<Vec<usize>>,
    /// What is predicted, row by row and left to right.
    pub targets: Vec<Target>,
    /// For each sample, row by row and left to right, its position in the slice that was cut, `[samples]`.
    pub indices: Vec<usize>,
}

impl Batch {
    /// Whether a row holds more than one sample.
    pub fn is_packed(&self) -> bool {
        self.segments.iter().any(|segments| segments.len() > 1)
    }

    /// How many positions are padding.
    pub fn padding(&self) -> usize {
        self.token_ids.len() - self.segments.iter().flatten().sum::<usize>()
    }
}

/// One token to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The hidden state that predicts it, `row * seq + t`.
    pub position: usize,
    /// The token at `t + 1`.
    pub token_id: u32,
    /// The sample it belongs to, counted as in [`Batch::indices`].
    pub sample: usize,
}

/// What rows are filled with: a token of every model. Rows are distinguished from it by their length, so that any id would do but
/// one that the model does not have, as a padding token may be.
const FILLER: u32 = 0;

/// Cuts a global batch into micro-batches, each when it is asked for. Every sample is in exactly one of them.
pub fn micro_batches<'a>(
    examples: &'a [&'a Example],
    options: &BatchOptions,
) -> impl Iterator<Item = Batch> + use<'a> {
    let lengths: Vec<usize> = examples.iter().map(|example| example.token_ids.len()).collect();
    (groups(&lengths, options).into_iter()).map(move |rows| batch(examples, &rows))
}

/// The number of rows and of columns of every micro-batch that [`micro_batches`] cuts samples of these lengths into.
pub fn micro_batch_shapes(lengths: &[usize], options: &BatchOptions) -> Vec<[usize; 2]> {
    let width = |row: &Vec<usize>| row.iter().map(|&index| lengths[index]).sum::<usize>();
    (groups(lengths, options).iter())
        .map(|rows| [rows.len(), rows.iter().map(width).max().unwrap_or(0)])
        .collect()
}

/// The rows of every micro-batch, each the samples in it.
fn groups(lengths: &[usize], options: &BatchOptions) -> Vec<Vec<Vec<usize>>> {
    let mut rows = match options.packing {
        Packing::None => (0..lengths.len()).map(|index| vec![index]).collect(),
        Packing::BestFit => pack::best_fit_decreasing(lengths, row_tokens(options)),
    };
    let length = |row: &[usize]| row.iter().map(|&index| lengths[index]).sum::<usize>();
    if options.bucketing == Bucketing::ByLength {
        rows.sort_by_key(|row| length(row));
    }
    let mut groups = Vec::new();
    let mut open: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for row in rows {
        let wider = longest.max(length(&row));
        let is_full = match options.max_tokens {
            Some(most) => (open.len() + 1) * wider > most,
            None => open.len() >= options.micro.max(1),
        };
        if is_full && !open.is_empty() {
            groups.push(std::mem::take(&mut open));
            longest = 0;
        }
        longest = longest.max(length(&row));
        open.push(row);
    }
    if !open.is_empty() {
        groups.push(open);
    }
    groups
}

/// Most tokens of a shared row: it must fit into the budget of a micro-batch too.
fn row_tokens(options: &BatchOptions) -> usize {
    options
        .max_tokens
        .map_or(options.row_tokens, |most| most.min(options.row_tokens))
}

fn batch(examples: &[&Example], rows: &[Vec<usize>]) -> Batch {
    let segments: Vec<Vec<usize>> = (rows.iter())
        .map(|row| row.iter().map(|&index| examples[index].token_ids.len()).collect())
        .collect();
    let seq = segments.iter().map(|row| row.iter().sum()).max().unwrap_or(0);
    let mut token_ids = Vec::with_capacity(rows.len() * seq);
    let (mut targets, mut indices) = (Vec::new(), Vec::new());
    for (row, samples) in rows.iter().enumerate() {
        for &index in samples {
            let example = examples[index];
            let start = token_ids.len();
            token_ids.extend(&example.token_ids);
            // The first token has no hidden state before it, so its mask is not looked at.
            let predicted = (example.token_ids.iter().zip(&example.loss_mask))
                .skip(1)
                .enumerate();
            targets.extend(
                predicted
                    .filter(|(_, (_, trained))| **trained)
                    .map(|(t, (&token_id, _))| Target {
                        position: start + t,
                        token_id,
                        sample: indices.len(),
                    }),
            );
            indices.push(index);
        }
        token_ids.resize((row + 1) * seq, FILLER);
    }
    Batch {
        rows: rows.len(),
        seq,
        token_ids,
        segments,
        targets,
        indices,
    }
}
