//! Rotation and causal attention in blocks of queries: the scores of one block of one head are all that is held.
//!
//! ```text
//! p(t, s) = exp(z(t, s) − lse(t)),   z(t, s) = q(t) · k(s),   o(t) = Σ_s p(t, s) v(s),   first(t) ≤ s ≤ t
//! dv(s) = Σ_t p(t, s) do(t),   dz(t, s) = p(t, s) (do(t) · v(s) − do(t) · o(t))
//! dq(t) = Σ_s dz(t, s) k(s),   dk(s) = Σ_t dz(t, s) q(t)
//! ```
//!
//! q is rotated and scaled, k rotated; a soft-cap bends z. The first key of a query is where its sample begins, or
//! where its window does; it never moves back, so a block of queries needs the keys from the first of its first query
//! to its last query. Inside, every head is a matrix of its own, `[batch, heads, seq, head_dim]`.

use cadft_kernels::Precision;
use cadft_kernels::cpu::{Threads, View, Write, gemm, round_to_bf16};
use rayon::prelude::*;

use super::heads::{Rotary, Sizes, by_head, by_position};
use super::{Flex, Float, floats, simd, tensor};
use crate::fused::AttentionOptions;
use crate::fused::kernels::{AttentionOutputs, AttentionSaved};

/// Queries in one block.
const QUERIES: usize = 64;

/// The attention output, and what the backward pass needs, as [`AttentionSaved`] lists it.
pub(super) fn causal_attention(
    [query, key, value]: [Float; 3],
    rotation: [Float; 2],
    options: &AttentionOptions,
) -> AttentionOutputs<Float> {
    let sizes = Sizes::new(&query, &key, options.head_dim);
    let rotation = Rotary::new(rotation);
    let rotated = |factor| Some((&rotation, factor));
    let mut query = by_head(query, sizes.heads, &sizes, rotated(options.scale as f32));
    let mut key = by_head(key, sizes.kv_heads, &sizes, rotated(1.0));
    let mut value = by_head(value, sizes.kv_heads, &sizes, None);
    for factor in [&mut query, &mut key, &mut value] {
        round(factor, options.precision);
    }

    let (seq, head) = (sizes.seq, sizes.head());
    let mut output = vec![0.0; query.len()];
    let mut log_sum_exp = vec![0.0; sizes.batch * sizes.heads * seq];
    output
        .par_chunks_mut(head)
        .zip(log_sum_exp.par_chunks_mut(seq))
        .zip(query.par_chunks(head))
        .enumerate()
        .for_each(|(index, ((output, log_sum_exp), query))| {
            let kv = index / sizes.groups() * head;
            let row = Row {
                options,
                index: index / sizes.heads,
                seq,
            };
            let inputs = [query, &key[kv..kv + head], &value[kv..kv + head]];
            forward_head(output, log_sum_exp, inputs, &row);
        });
    let merged = by_position(&output, sizes.heads, &sizes, None);
    let by_head = |values: Vec<f32>, heads| tensor(values, [sizes.batch, heads, seq, sizes.head_dim]);
    (
        merged,
        by_head(query, sizes.heads),
        by_head(key, sizes.kv_heads),
        by_head(value, sizes.kv_heads),
        by_head(output, sizes.heads),
        tensor(log_sum_exp, [sizes.batch, sizes.heads, seq]),
    )
}

/// Gradients of query, key and value before rotation.
pub(super) fn causal_attention_gradients(saved: AttentionSaved<Flex>, grad: Float) -> (Float, Float, Float) {
    let sizes = Sizes::by_head(&saved.query, &saved.key);
    let rotation = Rotary::new([saved.cos, saved.sin]);
    let (head, groups) = (sizes.head(), sizes.groups());
    let mut grad = by_head(grad, sizes.heads, &sizes, None);
    round(&mut grad, saved.options.precision);
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
                        row: Row {
                            options: &saved.options,
                            index: index / sizes.kv_heads,
                            seq: sizes.seq,
                        },
                    },
                );
            }
        });
    let rotated = |factor| Some((&rotation, factor));
    (
        by_position(&d_query, sizes.heads, &sizes, rotated(saved.options.scale as f32)),
        by_position(&d_key, sizes.kv_heads, &sizes, rotated(1.0)),
        by_position(&d_value, sizes.kv_heads, &sizes, None),
    )
}

/// Rounds the factors of a product where they are in bf16; they are multiplied in f32 all the same.
fn round(values: &mut [f32], precision: Precision) {
    match precision {
        Precision::F32 => {}
        Precision::Bf16 => round_to_bf16(values),
    }
}

/// One row of the batch: which keys its queries see.
struct Row<'a> {
    options: &'a AttentionOptions,
    index: usize,
    seq: usize,
}

impl Row<'_> {
    /// The first key that the query at `position` sees.
    fn first(&self, position: usize) -> usize {
        self.options.first_key(self.index, position, self.seq)
    }

    /// Blocks of queries.
    fn blocks(&self) -> impl Iterator<Item = Block> {
        (0..self.seq).step_by(QUERIES).map(|start| Block {
            start,
            end: (start + QUERIES).min(self.seq),
            first: self.first(start),
        })
    }

    /// Scores of the largest block.
    fn buffer(&self) -> usize {
        self.blocks()
            .map(|block| block.queries() * block.keys())
            .max()
            .unwrap_or(0)
    }

    fn cap(&self) -> Option<f32> {
        self.options.softcap.map(|cap| cap as f32)
    }
}

/// Queries `start..end` and the keys `first..end` that they need.
struct Block {
    start: usize,
    end: usize,
    first: usize,
}

impl Block {
    fn queries(&self) -> usize {
        self.end - self.start
    }

    fn keys(&self) -> usize {
        self.end - self.first
    }
}

fn forward_head(
    output: &mut [f32],
    log_sum_exp: &mut [f32],
    [query, key, value]: [&[f32]; 3],
    row: &Row<'_>,
) {
    let head_dim = row.options.head_dim;
    let mut buffer = vec![0.0; row.buffer()];
    for block in row.blocks() {
        let (queries, keys) = (block.queries(), block.keys());
        let (at, seen) = (
            block.start * head_dim..block.end * head_dim,
            block.first * head_dim..block.end * head_dim,
        );
        let view = |data| View::new(data, keys, head_dim);
        let scores = &mut buffer[..queries * keys];
        gemm(
            scores,
            View::new(&query[at.clone()], queries, head_dim),
            view(&key[seen.clone()]).transpose(),
            Write::Set,
            Threads::One,
        );
        for (position, scores) in (block.start..).zip(scores.chunks_mut(keys)) {
            let visible = row.first(position) - block.first..position + 1 - block.first;
            scores[..visible.start].fill(0.0);
            scores[visible.end..].fill(0.0);
            let scores = &mut scores[visible];
            if let Some(cap) = row.cap() {
                simd::soft_cap(scores, cap);
            }
            log_sum_exp[position] = simd::softmax_row(scores);
        }
        round(scores, row.options.precision);
        let scores = View::new(scores, queries, keys);
        gemm(
            &mut output[at],
            scores,
            view(&value[seen]),
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
    row: Row<'a>,
}

/// Sets the gradient of the queries; adds to those of keys and values.
fn backward_head([d_query, d_key, d_value]: [&mut [f32]; 3], head: &Head<'_>) {
    let (row, head_dim) = (&head.row, head.row.options.head_dim);
    let size = row.buffer();
    let (mut p_buffer, mut dz_buffer) = (vec![0.0; size], vec![0.0; size]);
    for block in row.blocks() {
        let (queries, keys) = (block.queries(), block.keys());
        let (at, seen) = (
            block.start * head_dim..block.end * head_dim,
            block.first * head_dim..block.end * head_dim,
        );
        let of_queries = |data| View::new(data, queries, head_dim);
        let of_keys = |data| View::new(data, keys, head_dim);
        let (query, grad) = (
            of_queries(&head.query[at.clone()]),
            of_queries(&head.grad[at.clone()]),
        );
        let (key, value) = (
            of_keys(&head.key[seen.clone()]),
            of_keys(&head.value[seen.clone()]),
        );
        let p = &mut p_buffer[..queries * keys];
        let dz = &mut dz_buffer[..queries * keys];
        gemm(p, query, key.transpose(), Write::Set, Threads::One);
        gemm(dz, grad, value.transpose(), Write::Set, Threads::One);
        let rows = p.chunks_mut(keys).zip(dz.chunks_mut(keys));
        for (position, (p, dz)) in (block.start..).zip(rows) {
            score_gradients(p, dz, (head, &block, position));
        }
        round(p, row.options.precision);
        round(dz, row.options.precision);
        let (p, dz) = (View::new(p, queries, keys), View::new(dz, queries, keys));
        gemm(&mut d_query[at], dz, key, Write::Set, Threads::One);
        gemm(
            &mut d_key[seen.clone()],
            dz.transpose(),
            query,
            Write::Add,
            Threads::One,
        );
        gemm(&mut d_value[seen], p.transpose(), grad, Write::Add, Threads::One);
    }
}

/// Turns the scores and `do · v` of one query into its probabilities and the gradients of its scores, in place.
fn score_gradients(p: &mut [f32], dz: &mut [f32], (head, block, position): (&Head<'_>, &Block, usize)) {
    let (row, head_dim) = (&head.row, head.row.options.head_dim);
    let at = position * head_dim..(position + 1) * head_dim;
    let delta = simd::dot(&head.output[at.clone()], &head.grad[at]);
    let visible = row.first(position) - block.first..position + 1 - block.first;
    for values in [&mut *p, &mut *dz] {
        values[..visible.start].fill(0.0);
        values[visible.end..].fill(0.0);
    }
    let (p, dz) = (&mut p[visible.clone()], &mut dz[visible]);
    let log_sum_exp = head.log_sum_exp[position];
    match row.cap() {
        None => simd::score_gradients(p, dz, log_sum_exp, delta),
        Some(cap) => simd::capped_score_gradients(p, dz, log_sum_exp, delta, cap),
    }
}
