//! Between positions that hold all heads and heads that hold all positions, with rotation on the way.

use burn::backend::TensorMetadata;
use rayon::prelude::*;

use super::{Float, contiguous, floats, simd, tensor};

/// Sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl Sizes {
    pub(super) fn new(query: &Float, key: &Float, head_dim: usize) -> Self {
        let [batch, seq, width] = query.shape().dims::<3>();
        let [_, _, kv_width] = key.shape().dims::<3>();
        Self {
            batch,
            seq,
            heads: width / head_dim,
            kv_heads: kv_width / head_dim,
            head_dim,
        }
    }

    /// Those of queries and keys that are by head, `[batch, heads, seq, head_dim]`.
    pub(super) fn by_head(query: &Float, key: &Float) -> Self {
        let [batch, heads, seq, head_dim] = query.shape().dims::<4>();
        let [_, kv_heads, _, _] = key.shape().dims::<4>();
        Self {
            batch,
            seq,
            heads,
            kv_heads,
            head_dim,
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Elements of one head of one sequence.
    pub(super) fn head(&self) -> usize {
        self.seq * self.head_dim
    }
}

/// Cosines and sines, `[batch or 1, seq, pairs]`; no pairs where nothing is rotated.
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

    /// Cosines and sines of one position of one row of `seq` positions.
    fn at(&self, [row, position, seq]: [usize; 3]) -> (&[f32], &[f32]) {
        let row = if self.rows == 1 { 0 } else { row };
        let start = (row * seq + position) * self.pairs;
        let at = start..start + self.pairs;
        (&floats(&self.cos)[at.clone()], &floats(&self.sin)[at])
    }
}

/// What is done to a head on the way: nothing, or rotation and multiplication.
pub(super) type Scaled<'a> = Option<(&'a Rotary, f32)>;

/// Writes one head of a `(row, position)`, rotated in the given direction.
fn write(out: &mut [f32], x: &[f32], scaled: Scaled<'_>, at: [usize; 3], direction: f32) {
    let Some((rotary, factor)) = scaled else {
        out.copy_from_slice(x);
        return;
    };
    simd::rotate(out, x, rotary.at(at), factor, direction * factor);
}

/// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
pub(super) fn by_head(x: Float, heads: usize, sizes: &Sizes, scaled: Scaled<'_>) -> Vec<f32> {
    let x = contiguous(x);
    let values = floats(&x);
    let &Sizes { seq, head_dim, .. } = sizes;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(sizes.head())
        .enumerate()
        .for_each(|(index, out)| {
            let (row, head) = (index / heads, index % heads);
            for (position, out) in out.chunks_mut(head_dim).enumerate() {
                let at = ((row * seq + position) * heads + head) * head_dim;
                write(out, &values[at..at + head_dim], scaled, [row, position, seq], 1.0);
            }
        });
    out
}

/// `[batch, heads, seq, head_dim]` to `[batch, seq, heads * head_dim]`, rotated back.
pub(super) fn by_position(values: &[f32], heads: usize, sizes: &Sizes, scaled: Scaled<'_>) -> Float {
    let &Sizes {
        batch, seq, head_dim, ..
    } = sizes;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(heads * head_dim)
        .with_min_len(16)
        .enumerate()
        .for_each(|(index, out)| {
            let (row, position) = (index / seq, index % seq);
            for (head, out) in out.chunks_mut(head_dim).enumerate() {
                let at = ((row * heads + head) * seq + position) * head_dim;
                write(
                    out,
                    &values[at..at + head_dim],
                    scaled,
                    [row, position, seq],
                    -1.0,
                );
            }
        });
    tensor(out, [batch, seq, heads * head_dim])
}
