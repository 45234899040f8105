//! Cuts a global batch into micro-batches, and lists the targets of each.
//!
//! The cut affects memory and speed, but never the result. A target belongs to its sample, wherever the sample is in a
//! micro-batch. Padding is recognised by lengths, never by token ids.

mod pack;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deal::deal;
use crate::example::Example;

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

/// How the samples of a micro-batch are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// One after the other in one row, so that nothing is padded. Micro-batches have about as many tokens each.
    #[default]
    PaddingFree,
    /// Every sample has its row, padded to the longest.
    None,
    /// Several samples share a row, padded to the longest. Best-fit decreasing: the longest sample left goes into the fullest
    /// row that still has room for it.
    BestFit,
}

/// How a global batch is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Most rows of a micro-batch, if `max_tokens` is absent; at least one. Padding-free, the mean number of samples.
    pub micro: usize,
    /// Largest number of tokens in a micro-batch, including padding. A longer sample gets its own micro-batch.
    pub max_tokens: Option<usize>,
    /// Which rows go together. Padding-free, tokens decide.
    pub bucketing: Bucketing,
    /// How samples are laid out.
    pub packing: Packing,
    /// Largest number of tokens in a row that samples share.
    pub row_tokens: usize,
}

/// A micro-batch; its rows are padded on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns: the length of the longest row.
    pub seq: usize,
    /// Token ids, `[rows * seq]`, row by row.
    pub token_ids: Vec<u32>,
    /// For each row, the lengths of its samples from left to right; the rest of the row is padding.
    pub segments: Vec<Vec<usize>>,
    /// The targets, row by row and from left to right.
    pub targets: Vec<Target>,
    /// For each sample, row by row and from left to right, its index in the slice that was cut: `[samples]`.
    pub indices: Vec<usize>,
}

impl Batch {
    /// Whether any row holds more than one sample.
    pub fn is_packed(&self) -> bool {
        self.segments.iter().any(|segments| segments.len() > 1)
    }

    /// Number of padding positions.
    pub fn padding(&self) -> usize {
        self.token_ids.len() - self.segments.iter().flatten().sum::<usize>()
    }
}

/// A target: one token to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The position of the hidden state that predicts it: `row * seq + t`.
    pub position: usize,
    /// The token at `t + 1` of the row.
    pub token_id: u32,
    /// The sample of the target, as an index into [`Batch::indices`].
    pub sample: usize,
}

/// The id of padding tokens. Padding is recognised by length, so any id of the vocabulary would do. A tokenizer's
/// padding token may be outside the model's vocabulary.
const FILLER: u32 = 0;

/// Cuts a global batch into micro-batches, lazily. Every sample is in exactly one of them.
pub fn micro_batches<'a>(
    examples: &'a [&'a Example],
    options: &BatchOptions,
) -> impl Iterator<Item = Batch> + use<'a> {
    let lengths: Vec<usize> = examples.iter().map(|example| example.token_ids.len()).collect();
    (groups(&lengths, options).into_iter()).map(move |rows| batch(examples, &rows))
}

/// The `[rows, columns]` of every micro-batch that [`micro_batches`] makes from samples of these lengths.
///
/// # Examples
/// ```
/// use cadft_batch::{BatchOptions, Bucketing, Packing, micro_batch_shapes};
///
/// let options = |packing| BatchOptions {
///     micro: 2,
///     max_tokens: None,
///     bucketing: Bucketing::None,
///     packing,
///     row_tokens: 8,
/// };
/// assert_eq!(micro_batch_shapes(&[5, 3, 4], &options(Packing::None)), [[2, 5], [1, 4]]);
/// // The first two samples share a row.
/// assert_eq!(micro_batch_shapes(&[5, 3, 4], &options(Packing::BestFit)), [[2, 8]]);
/// ```
pub fn micro_batch_shapes(lengths: &[usize], options: &BatchOptions) -> Vec<[usize; 2]> {
    let width = |row: &Vec<usize>| row.iter().map(|&index| lengths[index]).sum::<usize>();
    (groups(lengths, options).iter())
        .map(|rows| [rows.len(), rows.iter().map(width).max().unwrap_or(0)])
        .collect()
}

/// The rows of every micro-batch; a row is a list of sample indices.
fn groups(lengths: &[usize], options: &BatchOptions) -> Vec<Vec<Vec<usize>>> {
    let mut rows = match options.packing {
        Packing::PaddingFree => {
            let dealt = padding_free(lengths, options);
            return dealt.into_iter().map(|row| vec![row]).collect();
        }
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

/// The samples of every micro-batch, dealt by tokens: as many micro-batches as `micro` samples make, or as few as the budget
/// allows. A sample above the budget has one by itself.
fn padding_free(lengths: &[usize], options: &BatchOptions) -> Vec<Vec<usize>> {
    let fewest = match options.max_tokens {
        Some(most) => lengths.iter().sum::<usize>().div_ceil(most.max(1)),
        None => lengths.len().div_ceil(options.micro.max(1)),
    };
    let tokens = |samples: &Vec<usize>| samples.iter().map(|&index| lengths[index]).sum::<usize>();
    let fits = |samples: &Vec<usize>| {
        samples.len() <= 1 || options.max_tokens.is_none_or(|most| tokens(samples) <= most)
    };
    (fewest.clamp(1, lengths.len().max(1))..=lengths.len())
        .map(|count| deal(lengths, count))
        .find(|dealt| dealt.iter().all(fits))
        .unwrap_or_default()
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
            // The first token has no hidden state before it, so its mask is ignored.
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
