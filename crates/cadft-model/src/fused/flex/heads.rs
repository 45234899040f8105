//! Between positions that hold all heads and heads that hold the positions of one sample, with rotation on the way.
//!
//! By head, values lie sample by sample: `[kv_heads, length, groups, head_dim]` for queries, whose `groups` heads share a key
//! and a value, and `[kv_heads, length, head_dim]` for keys and values. The samples of all rows, padding among them, cover
//! every position once and in order.

use burn::backend::TensorMetadata;
use rayon::prelude::*;

use super::{Float, contiguous, floats, simd, tensor};
use crate::fused::AttentionOptions;

/// Consecutive positions of a row that attend to each other only: a sample, or the padding after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The row of the batch.
    pub(super) row: usize,
    /// The position in the row at which it begins.
    pub(super) start: usize,
    /// The number of its positions.
    pub(super) length: usize,
    /// The number of positions of all samples before it.
    before: usize,
}

/// Sizes of one attention.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) samples: Vec<Sample>,
}

impl Sizes {
    /// Those of queries and keys `[batch, seq, heads * head_dim]`.
    pub(super) fn new(query: &Float, key: &Float, options: &AttentionOptions) -> Self {
        let [batch, seq, width] = query.shape().dims::<3>();
        let [_, _, kv_width] = key.shape().dims::<3>();
        let head_dim = options.head_dim;
        Self {
            batch,
            seq,
            heads: width / head_dim,
            kv_heads: kv_width / head_dim,
            head_dim,
            samples: samples(batch, seq, options.starts.as_deref()),
        }
    }

    /// Those of queries `[batch, heads, seq, head_dim]` and keys.
    pub(super) fn by_head(query: &Float, key: &Float, options: &AttentionOptions) -> Self {
        let [batch, heads, seq, head_dim] = query.shape().dims::<4>();
        let [_, kv_heads, _, _] = key.shape().dims::<4>();
        Self {
            batch,
            seq,
            heads,
            kv_heads,
            head_dim,
            samples: samples(batch, seq, options.starts.as_deref()),
        }
    }

    /// Query heads that share a key and a value.
    pub(super) fn groups(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// The samples of all rows, given at which position of its row the sample of each position begins.
fn samples(batch: usize, seq: usize, starts: Option<&[usize]>) -> Vec<Sample> {
    let mut samples = vec![];
    for row in 0..batch {
        let start_of = |position: usize| starts.map_or(0, |starts| starts[row * seq + position]);
        let mut start = 0;
        while start < seq {
            let end = (start..seq)
                .find(|&position| start_of(position) > start)
                .unwrap_or(seq);
            samples.push(Sample {
                row,
                start,
                length: end - start,
                before: row * seq + start,
            });
            start = end;
        }
    }
    samples
}

/// Cuts a slice into pieces of given lengths, in order.
pub(super) struct Cutter<'a>(&'a mut [f32]);

impl<'a> Cutter<'a> {
    pub(super) fn new(values: &'a mut [f32]) -> Self {
        Self(values)
    }

    pub(super) fn take(&mut self, length: usize) -> &'a mut [f32] {
        let (piece, rest) = std::mem::take(&mut self.0).split_at_mut(length);
        self.0 = rest;
        piece
    }
}

/// Cosines and sines, `[batch or 1, seq, pairs]`; `pairs` is 0 without rotation.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    cos: Float,
    sin: Float,
    rows: usize,
    pairs: usize,
}

impl Rotary {
    pub(super) fn new([cos, sin]: [Float; 2]) -> Self {
        let [rows, _, pairs] = cos.shape().dims::<3>();
        Self {
            cos: contiguous(cos),
            sin: contiguous(sin),
            rows,
            pairs,
        }
    }

    /// The cosines and sines at `[row, position, seq]`: one position of a row with `seq` positions.
    fn at(&self, [row, position, seq]: [usize; 3]) -> (&[f32], &[f32]) {
        let row = if self.rows == 1 { 0 } else { row };
        let start = (row * seq + position) * self.pairs;
        let at = start..start + self.pairs;
        (&floats(&self.cos)[at.clone()], &floats(&self.sin)[at])
    }
}

/// What is applied to a head: nothing, or rotation and a factor.
pub(super) type Scaled<'a> = Option<(&'a Rotary, f32)>;

/// Writes the heads of a `(row, position)` that lie side by side, each rotated in the given direction.
fn write(out: &mut [f32], x: &[f32], head_dim: usize, scaled: Scaled<'_>, at: [usize; 3], direction: f32) {
    let Some((rotary, factor)) = scaled else {
        out.copy_from_slice(x);
        return;
    };
    for (out, x) in out.chunks_mut(head_dim).zip(x.chunks(head_dim)) {
        simd::rotate(out, x, rotary.at(at), factor, direction * factor);
    }
}

/// `[batch, seq, heads * head_dim]` by head.
pub(super) fn by_head(x: Float, sizes: &Sizes, scaled: Scaled<'_>) -> Vec<f32> {
    let x = contiguous(x);
    let values = floats(&x);
    let &Sizes {
        seq,
        kv_heads,
        head_dim,
        ..
    } = sizes;
    let width = values.len() / (sizes.batch * seq);
    let span = width / kv_heads;
    let mut out = vec![0.0; values.len()];
    let mut cutter = Cutter::new(&mut out);
    let mut tasks = Vec::with_capacity(sizes.samples.len() * kv_heads);
    for sample in &sizes.samples {
        tasks.extend((0..kv_heads).map(|head| (sample, head, cutter.take(sample.length * span))));
    }
    tasks.into_par_iter().for_each(|(sample, head, out)| {
        for (offset, out) in out.chunks_mut(span).enumerate() {
            let at = (sample.before + offset) * width + head * span;
            let place = [sample.row, sample.start + offset, seq];
            write(out, &values[at..at + span], head_dim, scaled, place, 1.0);
        }
    });
    out
}

/// The inverse of [`by_head`], rotated back: `[batch, seq, heads * head_dim]`.
pub(super) fn by_position(values: &[f32], sizes: &Sizes, scaled: Scaled<'_>) -> Float {
    let &Sizes {
        batch,
        seq,
        kv_heads,
        head_dim,
        ..
    } = sizes;
    let width = values.len() / (batch * seq);
    let span = width / kv_heads;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(width)
        .with_min_len(16)
        .enumerate()
        .for_each(|(index, out)| {
            let after = sizes.samples.partition_point(|sample| sample.before <= index);
            let sample = &sizes.samples[after - 1];
            let offset = index - sample.before;
            for (head, out) in out.chunks_mut(span).enumerate() {
                let at = sample.before * width + (head * sample.length + offset) * span;
                let place = [sample.row, sample.start + offset, seq];
                write(out, &values[at..at + span], head_dim, scaled, place, -1.0);
            }
        });
    tensor(out, [batch, seq, width])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_cover_every_position_once_and_in_order() {
        let of = |samples: &[Sample]| -> Vec<[usize; 4]> {
            samples
                .iter()
                .map(|sample| [sample.row, sample.start, sample.length, sample.before])
                .collect()
        };
        assert_eq!(of(&samples(2, 3, None)), [[0, 0, 3, 0], [1, 0, 3, 3]]);
        let starts = [0, 0, 2, 3, 0, 0, 0, 0];
        assert_eq!(
            of(&samples(2, 4, Some(&starts))),
            [[0, 0, 2, 0], [0, 2, 1, 2], [0, 3, 1, 3], [1, 0, 4, 4]]
        );
        assert!(samples(2, 0, None).is_empty());
    }
}
