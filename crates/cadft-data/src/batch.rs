//! Cuts a global batch into padded micro-batches and lists what each of them predicts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tokenize::Example;

/// How the samples of a global batch are put together into micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bucketing {
    /// Samples of similar length together, which saves padding. The loss does not depend on it.
    #[default]
    ByLength,
    /// In the order given.
    None,
}

/// A right-padded micro-batch. Which tokens are padding is known from `lengths`, never from an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of rows.
    pub samples: usize,
    /// The number of columns: the length of the longest sample.
    pub seq: usize,
    /// Row-major ids, `[samples * seq]`.
    pub token_ids: Vec<u32>,
    /// The length of each sample without padding, `[samples]`.
    pub lengths: Vec<usize>,
    /// What is predicted, row by row and left to right.
    pub targets: Vec<Target>,
    /// The position of each sample in the slice that was cut, `[samples]`.
    pub indices: Vec<usize>,
}

/// One token to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The hidden state that predicts it, `row * seq + t`.
    pub position: usize,
    /// The token at `t + 1`.
    pub token_id: u32,
    /// The row.
    pub sample: usize,
}

/// Cuts a global batch into micro-batches of at most `micro` samples (at least one).
pub fn micro_batches(examples: &[&Example], micro: usize, bucketing: Bucketing, pad_id: u32) -> Vec<Batch> {
    let mut indices: Vec<usize> = (0..examples.len()).collect();
    if bucketing == Bucketing::ByLength {
        indices.sort_by_key(|&index| examples[index].token_ids.len());
    }
    indices
        .chunks(micro.max(1))
        .map(|indices| batch(examples, indices, pad_id))
        .collect()
}

fn batch(examples: &[&Example], indices: &[usize], pad_id: u32) -> Batch {
    let lengths: Vec<usize> = indices
        .iter()
        .map(|&index| examples[index].token_ids.len())
        .collect();
    let seq = lengths.iter().copied().max().unwrap_or(0);
    let mut token_ids = Vec::with_capacity(indices.len() * seq);
    let mut targets = Vec::new();
    for (row, &index) in indices.iter().enumerate() {
        let example = examples[index];
        token_ids.extend(&example.token_ids);
        token_ids.resize((row + 1) * seq, pad_id);
        // The first token has no hidden state before it, so its mask is not looked at.
        let predicted = example
            .token_ids
            .iter()
            .zip(&example.loss_mask)
            .skip(1)
            .enumerate();
        targets.extend(
            predicted
                .filter(|(_, (_, trained))| **trained)
                .map(|(t, (&token_id, _))| Target {
                    position: row * seq + t,
                    token_id,
                    sample: row,
                }),
        );
    }
    Batch {
        samples: indices.len(),
        seq,
        token_ids,
        lengths,
        targets,
        indices: indices.to_vec(),
    }
}
