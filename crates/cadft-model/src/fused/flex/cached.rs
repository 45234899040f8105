//! Attention of new positions to a cache, without copying or repeating keys and values.
//!
//! ```text
//! a(t, s) = softmax_s(scale · q(t) · k(s)),  first(t) ≤ s ≤ t
//! o(t)    = Σ_s a(t, s) v(s)
//! ```
//!
//! Every query is computed separately and in the same order, so its result does not depend on the rest of the batch.

use burn::tensor::{Tensor, TensorData};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::simd;
use crate::fused::{AttentionInput, CacheRow, Rotation};

/// Keys and values of one sequence in one block, each `[positions, kv_heads * head_dim]`; keys are rotated.
#[derive(Clone, Debug, Default)]
pub(crate) struct SequenceCache {
    key: Vec<f32>,
    value: Vec<f32>,
}

impl SequenceCache {
    /// An empty cache with room for `elements` elements of keys and of values each.
    pub(crate) fn with_capacity(elements: usize) -> Self {
        Self {
            key: Vec::with_capacity(elements),
            value: Vec::with_capacity(elements),
        }
    }

    /// Replaces the content by the first `elements` elements of another sequence.
    pub(crate) fn copy_prefix(&mut self, from: &Self, elements: usize) {
        for (to, from) in [(&mut self.key, &from.key), (&mut self.value, &from.value)] {
            to.clear();
            to.extend_from_slice(&from[..elements]);
        }
    }

    /// Keeps only the first `elements` elements.
    pub(crate) fn truncate(&mut self, elements: usize) {
        self.key.truncate(elements);
        self.value.truncate(elements);
    }
}

/// Cosines and sines in host memory, each `[batch or 1, seq, pairs]`; empty without rotation.
struct Tables {
    cos: TensorData,
    sin: TensorData,
    seq: usize,
    pairs: usize,
}

impl Tables {
    fn new(rotation: Option<Rotation>, seq: usize) -> Self {
        let empty = || TensorData::new(Vec::<f32>::new(), [0]);
        let (cos, sin, pairs) = match rotation {
            None => (empty(), empty(), 0),
            Some(Rotation { cos, sin }) => {
                let [_, _, pairs] = cos.dims();
                (cos.into_data(), sin.into_data(), pairs)
            }
        };
        Self { cos, sin, seq, pairs }
    }

    /// Rotates the heads of one position of a row and multiplies them by `factor`.
    fn rotate(&self, out: &mut [f32], x: &[f32], at: Position, (head_dim, factor): (usize, f32)) {
        let (cos, sin) = (values(&self.cos), values(&self.sin));
        let start = match cos.len() {
            0 => 0,
            // All rows may share one row of tables.
            length => (at.row * self.seq + at.position) * self.pairs % length,
        };
        let tables = (&cos[start..start + self.pairs], &sin[start..start + self.pairs]);
        for (out, x) in out.chunks_mut(head_dim).zip(x.chunks(head_dim)) {
            simd::rotate(out, x, tables, factor, factor);
        }
    }
}

/// A new position of a row.
#[derive(Clone, Copy)]
struct Position {
    row: usize,
    position: usize,
}

fn values(data: &TensorData) -> &[f32] {
    data.as_slice().expect("tensors in memory are f32")
}

/// Stores the keys and values of new positions, and returns the attention output, `[batch, seq, heads * head_dim]`.
pub(crate) fn cached_attention(
    input: AttentionInput,
    sequences: &mut [SequenceCache],
    rows: &[CacheRow],
) -> Vec<f32> {
    let AttentionInput {
        query,
        key,
        value,
        rotation,
        options,
    } = input;
    let ([_, seq, width], [_, _, kv_width]) = (query.dims(), key.dims());
    let tables = Tables::new(rotation, seq);
    let [query, key, value] = [query, key, value].map(Tensor::into_data);
    let head_dim = options.head_dim;
    for (row, at) in rows.iter().enumerate() {
        let sequence = &mut sequences[at.slot];
        sequence.truncate(at.start * kv_width);
        for position in 0..seq {
            let new = (row * seq + position) * kv_width..(row * seq + position + 1) * kv_width;
            let end = sequence.key.len();
            sequence.key.resize(end + kv_width, 0.0);
            let (key, at) = (&values(&key)[new.clone()], Position { row, position });
            tables.rotate(&mut sequence.key[end..], key, at, (head_dim, 1.0));
            sequence.value.extend_from_slice(&values(&value)[new]);
        }
    }
    let kv_heads = kv_width / head_dim;
    let group = width / kv_heads; // Query heads that share a key and value head are adjacent.
    let sequences = &*sequences;
    let mut out = vec![0.0; values(&query).len()];
    out.par_chunks_mut(group)
        .zip(values(&query).par_chunks(group))
        .enumerate()
        .for_each(|(index, (out, x))| {
            let at = Position {
                row: index / kv_heads / seq,
                position: index / kv_heads % seq,
            };
            let CacheRow { slot, start } = rows[at.row];
            let end = start + at.position + 1;
            let first = options.window.map_or(0, |window| end.saturating_sub(window));
            let mut query = vec![0.0; group];
            tables.rotate(&mut query, x, at, (head_dim, options.scale as f32));
            let head = first * kv_width + index % kv_heads * head_dim;
            Arch::new().dispatch(Group {
                out,
                query: &query,
                key: &sequences[slot].key[head..],
                value: &sequences[slot].value[head..],
                keys: end - first,
                stride: kv_width,
                head_dim,
                softcap: options.softcap,
            });
        });
    out
}

/// The query heads of one position that share a key and value head.
struct Group<'a> {
    /// `[heads, head_dim]`.
    out: &'a mut [f32],
    /// `[heads, head_dim]`.
    query: &'a [f32],
    /// Keys, from the first visible position on.
    key: &'a [f32],
    value: &'a [f32],
    /// Number of visible positions.
    keys: usize,
    /// Distance between two positions in `key` and `value`.
    stride: usize,
    head_dim: usize,
    softcap: Option<f64>,
}

impl WithSimd for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { keys, head_dim, .. } = self;
        let heads = self.query.len() / head_dim;
        let mut scores = vec![0.0; heads * keys];
        for position in 0..keys {
            let at = position * self.stride;
            let key = &self.key[at..at + head_dim];
            for (head, query) in self.query.chunks_exact(head_dim).enumerate() {
                scores[head * keys + position] = dot(simd, query, key);
            }
        }
        let outputs = self.out.chunks_exact_mut(head_dim);
        for (scores, out) in scores.chunks_exact_mut(keys).zip(outputs) {
            if let Some(cap) = self.softcap {
                let cap = cap as f32;
                scores
                    .iter_mut()
                    .for_each(|score| *score = cap * (*score / cap).tanh());
            }
            simd::softmax_row(scores);
            let lanes = S::F32_LANES;
            let (mut done, values) = (0, self.value);
            while done + 4 * lanes <= head_dim {
                weighted::<S, 4>(simd, &mut out[done..], scores, (&values[done..], self.stride));
                done += 4 * lanes;
            }
            while done + lanes <= head_dim {
                weighted::<S, 1>(simd, &mut out[done..], scores, (&values[done..], self.stride));
                done += lanes;
            }
            for (index, out) in out.iter_mut().enumerate().skip(done) {
                let values = values[index..].iter().step_by(self.stride);
                *out = scores
                    .iter()
                    .zip(values)
                    .map(|(score, value)| score * value)
                    .sum();
            }
        }
    }
}

#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let mut sum = simd.splat_f32s(0.0);
    for (&a, &b) in a.iter().zip(b) {
        sum = simd.mul_add_f32s(a, b, sum);
    }
    if !a_tail.is_empty() {
        sum = simd.mul_add_f32s(
            simd.partial_load_f32s(a_tail),
            simd.partial_load_f32s(b_tail),
            sum,
        );
    }
    simd.reduce_sum_f32s(sum)
}

/// `Σ_s scores(s) values(s)` for `C` adjacent vectors.
#[inline(always)]
fn weighted<S: Simd, const C: usize>(
    simd: S,
    out: &mut [f32],
    scores: &[f32],
    (values, stride): (&[f32], usize),
) {
    let width = C * S::F32_LANES;
    let mut sums = [simd.splat_f32s(0.0); C];
    for (position, &score) in scores.iter().enumerate() {
        let (values, _) = S::as_simd_f32s(&values[position * stride..position * stride + width]);
        let score = simd.splat_f32s(score);
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = simd.mul_add_f32s(score, value, *sum);
        }
    }
    let (out, _) = S::as_mut_simd_f32s(&mut out[..width]);
    out.copy_from_slice(&sums);
}
