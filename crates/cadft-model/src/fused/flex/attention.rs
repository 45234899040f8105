//! Rotation and causal attention in blocks of queries: the scores of one block of one head are all that is held.
//!
//! ```text
//! p(t, s) = exp(q(t) · k(s) − lse(t)),   o(t) = Σ_s p(t, s) v(s)
//! dv(s) = Σ_t p(t, s) do(t),   dz(t, s) = p(t, s) (do(t) · v(s) − do(t) · o(t))
//! dq(t) = Σ_s dz(t, s) k(s),   dk(s) = Σ_t dz(t, s) q(t)
//! ```
//!
//! q is rotated and scaled by 1/√head_dim, k rotated. Inside, every head is a matrix of its own,
//! `[batch, heads, seq, head_dim]`.

use burn::backend::TensorMetadata;
use rayon::prelude::*;

use super::matrix::{Threads, View, Write, gemm};
use super::{Float, contiguous, floats, tensor};
use crate::fused::simd;

/// Queries in one block.
const QUERIES: usize = 64;

/// Sizes of one attention.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    seq: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Sizes {
    fn groups(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Elements of one head of one sequence.
    fn head(&self) -> usize {
        self.seq * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// What the forward pass keeps.
#[derive(Clone, Debug)]
pub(crate) struct AttentionSaved {
    sizes: Sizes,
    /// Rotated and scaled, by head.
    query: Float,
    /// Rotated, by head.
    key: Float,
    /// By head.
    value: Float,
    /// By head.
    output: Float,
    /// `[batch, heads, seq]`.
    log_sum_exp: Float,
    cos: Float,
    sin: Float,
}

/// The attention output, and what the backward pass needs.
pub(crate) fn causal_attention(
    query: Float,
    key: Float,
    value: Float,
    cos: Float,
    sin: Float,
) -> (Float, AttentionSaved) {
    let (cos, sin) = (contiguous(cos), contiguous(sin));
    let [batch, seq, width] = query.shape().dims::<3>();
    let [_, _, kv_width] = key.shape().dims::<3>();
    let [_, pairs] = cos.shape().dims::<2>();
    let head_dim = 2 * pairs;
    let sizes = Sizes {
        batch,
        seq,
        heads: width / head_dim,
        kv_heads: kv_width / head_dim,
        head_dim,
    };
    let tables = (floats(&cos), floats(&sin));
    let query = by_head(query, sizes.heads, &sizes, Some((tables, sizes.scale())));
    let key = by_head(key, sizes.kv_heads, &sizes, Some((tables, 1.0)));
    let value = by_head(value, sizes.kv_heads, &sizes, None);

    let head = sizes.head();
    let mut output = vec![0.0; query.len()];
    let mut log_sum_exp = vec![0.0; batch * sizes.heads * seq];
    output
        .par_chunks_mut(head)
        .zip(log_sum_exp.par_chunks_mut(seq))
        .zip(query.par_chunks(head))
        .enumerate()
        .for_each(|(index, ((output, log_sum_exp), query))| {
            let kv = index / sizes.groups() * head;
            forward_head(
                output,
                log_sum_exp,
                [query, &key[kv..kv + head], &value[kv..kv + head]],
                head_dim,
            );
        });
    let merged = by_position(&output, sizes.heads, &sizes, None);
    let vector = |values: Vec<f32>| {
        let length = values.len();
        tensor(values, [length])
    };
    let saved = AttentionSaved {
        sizes,
        query: vector(query),
        key: vector(key),
        value: vector(value),
        output: vector(output),
        log_sum_exp: vector(log_sum_exp),
        cos,
        sin,
    };
    (merged, saved)
}

/// Gradients of query, key and value before rotation.
pub(crate) fn causal_attention_gradients(saved: &AttentionSaved, grad: Float) -> (Float, Float, Float) {
    let sizes = saved.sizes;
    let (head, groups) = (sizes.head(), sizes.groups());
    let grad = by_head(grad, sizes.heads, &sizes, None);
    let (query, output, lse) = (
        floats(&saved.query),
        floats(&saved.output),
        floats(&saved.log_sum_exp),
    );
    let mut d_query = vec![0.0; query.len()];
    let mut d_key = vec![0.0; floats(&saved.key).len()];
    let mut d_value = vec![0.0; d_key.len()];
    d_query
        .par_chunks_mut(groups * head)
        .zip(d_key.par_chunks_mut(head).zip(d_value.par_chunks_mut(head)))
        .zip(
            floats(&saved.key)
                .par_chunks(head)
                .zip(floats(&saved.value).par_chunks(head)),
        )
        .enumerate()
        .for_each(|(index, ((d_query, (d_key, d_value)), (key, value)))| {
            // The query heads that share this key and value head, in order.
            for (group, d_query) in d_query.chunks_mut(head).enumerate() {
                let at = (index * groups + group) * head;
                let rows = (index * groups + group) * sizes.seq;
                backward_head(
                    [d_query, &mut *d_key, &mut *d_value],
                    &Head {
                        query: &query[at..at + head],
                        key,
                        value,
                        output: &output[at..at + head],
                        grad: &grad[at..at + head],
                        log_sum_exp: &lse[rows..rows + sizes.seq],
                        head_dim: sizes.head_dim,
                    },
                );
            }
        });
    let tables = (floats(&saved.cos), floats(&saved.sin));
    (
        by_position(&d_query, sizes.heads, &sizes, Some((tables, sizes.scale()))),
        by_position(&d_key, sizes.kv_heads, &sizes, Some((tables, 1.0))),
        by_position(&d_value, sizes.kv_heads, &sizes, None),
    )
}

/// Blocks of queries as `(start, end)`.
fn blocks(seq: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..seq)
        .step_by(QUERIES)
        .map(move |start| (start, (start + QUERIES).min(seq)))
}

fn forward_head(
    output: &mut [f32],
    log_sum_exp: &mut [f32],
    [query, key, value]: [&[f32]; 3],
    head_dim: usize,
) {
    let seq = log_sum_exp.len();
    let mut buffer = vec![0.0; QUERIES.min(seq) * seq];
    for (start, end) in blocks(seq) {
        let view = |data| View::new(data, end, head_dim);
        let scores = &mut buffer[..(end - start) * end];
        let queries = View::new(&query[start * head_dim..end * head_dim], end - start, head_dim);
        gemm(
            scores,
            queries,
            view(&key[..end * head_dim]).transpose(),
            Write::Set,
            Threads::One,
        );
        for (row, scores) in scores.chunks_mut(end).enumerate() {
            let (seen, hidden) = scores.split_at_mut(start + row + 1);
            log_sum_exp[start + row] = simd::softmax_row(seen);
            hidden.fill(0.0);
        }
        let scores = View::new(scores, end - start, end);
        let output = &mut output[start * head_dim..end * head_dim];
        gemm(
            output,
            scores,
            view(&value[..end * head_dim]),
            Write::Set,
            Threads::One,
        );
    }
}

/// One query head with its key and value head.
struct Head<'a> {
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    output: &'a [f32],
    grad: &'a [f32],
    log_sum_exp: &'a [f32],
    head_dim: usize,
}

/// Sets the gradient of the queries; adds to those of keys and values.
fn backward_head([d_query, d_key, d_value]: [&mut [f32]; 3], head: &Head<'_>) {
    let (seq, head_dim) = (head.log_sum_exp.len(), head.head_dim);
    let size = QUERIES.min(seq) * seq;
    let (mut p_buffer, mut dz_buffer) = (vec![0.0; size], vec![0.0; size]);
    for (start, end) in blocks(seq) {
        let rows = |data| View::new(data, end - start, head_dim);
        let keys = |data| View::new(data, end, head_dim);
        let (block, past) = (start * head_dim..end * head_dim, 0..end * head_dim);
        let (query, grad) = (rows(&head.query[block.clone()]), rows(&head.grad[block.clone()]));
        let (key, value) = (keys(&head.key[past.clone()]), keys(&head.value[past.clone()]));
        let p = &mut p_buffer[..(end - start) * end];
        let dz = &mut dz_buffer[..(end - start) * end];
        gemm(p, query, key.transpose(), Write::Set, Threads::One);
        gemm(dz, grad, value.transpose(), Write::Set, Threads::One);
        for (row, (p, dz)) in p.chunks_mut(end).zip(dz.chunks_mut(end)).enumerate() {
            let position = start + row;
            let at = position * head_dim..(position + 1) * head_dim;
            let delta = simd::dot(&head.output[at.clone()], &head.grad[at]);
            simd::score_gradients(
                &mut p[..=position],
                &mut dz[..=position],
                head.log_sum_exp[position],
                delta,
            );
            p[position + 1..].fill(0.0);
            dz[position + 1..].fill(0.0);
        }
        let (p, dz) = (View::new(p, end - start, end), View::new(dz, end - start, end));
        gemm(&mut d_query[block], dz, key, Write::Set, Threads::One);
        gemm(
            &mut d_key[past.clone()],
            dz.transpose(),
            query,
            Write::Add,
            Threads::One,
        );
        gemm(&mut d_value[past], p.transpose(), grad, Write::Add, Threads::One);
    }
}

/// Cosines and sines, and a factor.
type Rotation<'a> = ((&'a [f32], &'a [f32]), f32);

/// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`, rotated and multiplied where asked.
fn by_head(x: Float, heads: usize, sizes: &Sizes, rotation: Option<Rotation<'_>>) -> Vec<f32> {
    let x = contiguous(x);
    let values = floats(&x);
    let &Sizes { seq, head_dim, .. } = sizes;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(sizes.head())
        .enumerate()
        .for_each(|(index, out)| {
            let (sequence, head) = (index / heads, index % heads);
            for (position, out) in out.chunks_mut(head_dim).enumerate() {
                let at = ((sequence * seq + position) * heads + head) * head_dim;
                write_rotated(out, &values[at..at + head_dim], position, rotation, 1.0);
            }
        });
    out
}

/// `[batch, heads, seq, head_dim]` to `[batch, seq, heads * head_dim]`, rotated back and multiplied where asked.
fn by_position(values: &[f32], heads: usize, sizes: &Sizes, rotation: Option<Rotation<'_>>) -> Float {
    let &Sizes {
        batch, seq, head_dim, ..
    } = sizes;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(heads * head_dim)
        .with_min_len(16)
        .enumerate()
        .for_each(|(index, out)| {
            let (sequence, position) = (index / seq, index % seq);
            for (head, out) in out.chunks_mut(head_dim).enumerate() {
                let at = ((sequence * heads + head) * seq + position) * head_dim;
                write_rotated(out, &values[at..at + head_dim], position, rotation, -1.0);
            }
        });
    tensor(out, [batch, seq, heads * head_dim])
}

/// Writes one head of one position, rotated in the given direction.
fn write_rotated(
    out: &mut [f32],
    x: &[f32],
    position: usize,
    rotation: Option<Rotation<'_>>,
    direction: f32,
) {
    let Some(((cos, sin), factor)) = rotation else {
        out.copy_from_slice(x);
        return;
    };
    let pairs = x.len() / 2;
    let at = position * pairs..(position + 1) * pairs;
    simd::rotate(out, x, (&cos[at.clone()], &sin[at]), factor, direction * factor);
}
