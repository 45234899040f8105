//! Rotation and causal attention in blocks of queries: the scores of one block are all that a thread holds.
//!
//! ```text
//! p(t, s) = exp(z(t, s) − lse(t)),   z(t, s) = q(t) · k(s),   o(t) = Σ_s p(t, s) v(s),   first(t) ≤ s ≤ t
//! dv(s) = Σ_t p(t, s) do(t),   dz(t, s) = p(t, s) (do(t) · v(s) − do(t) · o(t))
//! dq(t) = Σ_s dz(t, s) k(s),   dk(s) = Σ_t dz(t, s) q(t)
//! ```
//!
//! q is rotated and scaled, k rotated; a soft-cap bends z. Samples are computed one by one, so that a row of several costs the
//! sum of their squared lengths. The query heads that share a key are rows of one product. A block of queries needs the keys
//! from the first key of its first query to its last query: with a window, the first key moves on, and never back.
//!
//! In the backward pass a long sample is cut into pieces, which add up gradients of keys and values each for itself. The
//! pieces depend on the length of the sample only, so that results do not depend on the number of threads.

mod pieces;

use std::cell::RefCell;
use std::ops::Range;

use cadft_kernels::Precision;
use cadft_kernels::cpu::{Threads, View, Write, gemm, round_to_bf16};
use rayon::prelude::*;

use pieces::pieces;

use super::heads::{Cutter, Rotary, Sample, Sizes, by_head, by_position};
use super::{Flex, Float, floats, simd, tensor};
use crate::fused::AttentionOptions;
use crate::fused::kernels::{AttentionOutputs, AttentionSaved};

/// Number of queries in a block.
const QUERIES: usize = 64;

/// The attention output, and what the backward pass needs, as [`AttentionSaved`] lists it. What is by head lies sample by
/// sample (see [`super::heads`]).
pub(super) fn causal_attention(
    [query, key, value]: [Float; 3],
    rotation: [Float; 2],
    options: &AttentionOptions,
) -> AttentionOutputs<Float> {
    let sizes = Sizes::new(&query, &key, options);
    let rotation = Rotary::new(rotation);
    let rotated = |factor| Some((&rotation, factor));
    let mut query = by_head(query, &sizes, rotated(options.scale as f32));
    let mut key = by_head(key, &sizes, rotated(1.0));
    let mut value = by_head(value, &sizes, None);
    for factor in [&mut query, &mut key, &mut value] {
        round(factor, options.precision);
    }

    let (seq, head_dim, groups) = (sizes.seq, sizes.head_dim, sizes.groups());
    let mut output = vec![0.0; query.len()];
    let mut log_sum_exp = vec![0.0; query.len() / head_dim];
    let mut outputs = (Cutter::new(&mut output), Cutter::new(&mut log_sum_exp));
    let mut tasks = vec![];
    for head in heads(&sizes, [&query, &key, &value], options) {
        for block in head.blocks(0..head.count()) {
            let rows = block.queries() * groups;
            tasks.push((head, block, outputs.0.take(rows * head_dim), outputs.1.take(rows)));
        }
    }
    tasks
        .into_par_iter()
        .for_each(|(head, block, output, log_sum_exp)| head.forward(&block, output, log_sum_exp));
    let merged = by_position(&output, &sizes, None);
    let by_head = |values: Vec<f32>, heads| tensor(values, [sizes.batch, heads, seq, head_dim]);
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
    let sizes = Sizes::by_head(&saved.query, &saved.key, &saved.options);
    let rotation = Rotary::new([saved.cos, saved.sin]);
    let mut grad = by_head(grad, &sizes, None);
    round(&mut grad, saved.options.precision);
    let [query, key, value] = [&saved.query, &saved.key, &saved.value].map(floats);
    let [output, log_sum_exp] = [&saved.output, &saved.log_sum_exp].map(floats);
    let head_dim = sizes.head_dim;
    let heads = heads(&sizes, [query, key, value], &saved.options);

    let mut d_query = vec![0.0; query.len()];
    let mut cutter = Cutter::new(&mut d_query);
    let mut tasks = vec![];
    let mut before = 0;
    for head in &heads {
        for piece in pieces(head.count()) {
            let rows = head.rows(&piece);
            let d_query = cutter.take(rows.len() * head_dim);
            let rows = before + rows.start..before + rows.end;
            let elements = rows.start * head_dim..rows.end * head_dim;
            let outside = Outside {
                output: &output[elements.clone()],
                grad: &grad[elements],
                log_sum_exp: &log_sum_exp[rows],
            };
            tasks.push((head, piece, d_query, outside));
        }
        before += head.sample.length * sizes.groups();
    }
    let parts: Vec<[Vec<f32>; 2]> = tasks
        .into_par_iter()
        .map(|(head, piece, d_query, outside)| head.backward(piece, d_query, &outside))
        .collect();
    let (mut d_key, mut d_value) = (Vec::with_capacity(key.len()), Vec::with_capacity(key.len()));
    let mut parts = parts.into_iter();
    for head in &heads {
        for (sum, of_head) in [&mut d_key, &mut d_value]
            .into_iter()
            .zip(sum_of_pieces(head, &mut parts))
        {
            sum.extend(of_head);
        }
    }
    let rotated = |factor| Some((&rotation, factor));
    (
        by_position(&d_query, &sizes, rotated(saved.options.scale as f32)),
        by_position(&d_key, &sizes, rotated(1.0)),
        by_position(&d_value, &sizes, None),
    )
}

/// The gradients of the keys and values of a sample: the sum over its pieces, of which the last holds all of them.
fn sum_of_pieces(head: &Head<'_>, parts: &mut impl Iterator<Item = [Vec<f32>; 2]>) -> [Vec<f32>; 2] {
    let mut of_head: Vec<_> = parts.take(pieces(head.count()).len()).collect();
    let mut sums = of_head.pop().unwrap_or_default();
    for part in of_head {
        for (sum, part) in sums.iter_mut().zip(part) {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
    }
    sums
}

/// Rounds the factors of a product to bf16 if that is the precision. They are still multiplied in f32.
fn round(values: &mut [f32], precision: Precision) {
    match precision {
        Precision::F32 => {}
        Precision::Bf16 => round_to_bf16(values),
    }
}

/// Every key and value head of every sample, with the query heads that share it.
fn heads<'a>(
    sizes: &'a Sizes,
    [query, key, value]: [&'a [f32]; 3],
    options: &'a AttentionOptions,
) -> Vec<Head<'a>> {
    let groups = sizes.groups();
    let mut heads = Vec::with_capacity(sizes.samples.len() * sizes.kv_heads);
    let mut at = 0;
    for sample in &sizes.samples {
        for _ in 0..sizes.kv_heads {
            let size = sample.length * sizes.head_dim;
            heads.push(Head {
                query: &query[at * groups..(at + size) * groups],
                key: &key[at..at + size],
                value: &value[at..at + size],
                sample: *sample,
                seq: sizes.seq,
                groups,
                options,
            });
            at += size;
        }
    }
    heads
}

/// A key and value head of one sample, and the queries that share it, `[length, groups, head_dim]`.
#[derive(Clone, Copy)]
struct Head<'a> {
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    sample: Sample,
    seq: usize,
    groups: usize,
    options: &'a AttentionOptions,
}

/// What came of the queries of a piece, and the gradient of that.
struct Outside<'a> {
    output: &'a [f32],
    grad: &'a [f32],
    log_sum_exp: &'a [f32],
}

/// Queries `start..end` of a sample, and the keys `first..end` that they need.
#[derive(Clone, Debug)]
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

impl Head<'_> {
    /// The number of blocks of queries.
    fn count(&self) -> usize {
        self.sample.length.div_ceil(QUERIES)
    }

    /// The first key that the query at `position` of the sample sees.
    fn first(&self, position: usize) -> usize {
        let start = self.sample.start;
        self.options
            .first_key(self.sample.row, start + position, self.seq)
            - start
    }

    /// The rows of queries of some blocks.
    fn rows(&self, blocks: &Range<usize>) -> Range<usize> {
        let row = |block: usize| (block * QUERIES).min(self.sample.length) * self.groups;
        row(blocks.start)..row(blocks.end)
    }

    fn blocks(&self, blocks: Range<usize>) -> impl Iterator<Item = Block> {
        blocks.map(|block| Block {
            start: block * QUERIES,
            end: ((block + 1) * QUERIES).min(self.sample.length),
            first: self.first(block * QUERIES),
        })
    }

    /// The queries of a block, `[queries * groups, head_dim]`.
    fn queries(&self, block: &Block) -> View<'_> {
        let size = self.groups * self.options.head_dim;
        let query = &self.query[block.start * size..block.end * size];
        View::new(query, block.queries() * self.groups, self.options.head_dim)
    }

    /// The keys or values of a block, `[keys, head_dim]`.
    fn seen<'a>(&self, values: &'a [f32], block: &Block) -> View<'a> {
        let size = self.options.head_dim;
        View::new(&values[block.first * size..block.end * size], block.keys(), size)
    }

    /// Of each row of scores of a block, the keys that its query sees.
    fn visible(&self, block: &Block) -> impl Iterator<Item = Range<usize>> {
        let first = block.first;
        (block.start..block.end)
            .map(move |position| self.first(position) - first..position + 1 - first)
            .flat_map(|visible| std::iter::repeat_n(visible, self.groups))
    }

    fn cap(&self) -> Option<f32> {
        self.options.softcap.map(|cap| cap as f32)
    }

    /// Sets the output of a block, and the logarithm of the sum of exponentials of each of its rows.
    fn forward(&self, block: &Block, output: &mut [f32], log_sum_exp: &mut [f32]) {
        let (queries, keys) = (self.queries(block), block.keys());
        scratch(queries.rows() * keys, |scores| {
            gemm(
                scores,
                queries,
                self.seen(self.key, block).transpose(),
                Write::Set,
                Threads::One,
            );
            let rows = scores.chunks_mut(keys).zip(self.visible(block)).zip(log_sum_exp);
            for ((scores, visible), log_sum_exp) in rows {
                let scores = only(scores, visible);
                if let Some(cap) = self.cap() {
                    simd::soft_cap(scores, cap);
                }
                *log_sum_exp = simd::softmax_row(scores);
            }
            round(scores, self.options.precision);
            let scores = View::new(scores, queries.rows(), keys);
            gemm(
                output,
                scores,
                self.seen(self.value, block),
                Write::Set,
                Threads::One,
            );
        });
    }

    /// Sets the gradient of the queries of a piece. Returns what the piece adds to those of keys and values, from the first to
    /// its last.
    fn backward(&self, piece: Range<usize>, d_query: &mut [f32], outside: &Outside<'_>) -> [Vec<f32>; 2] {
        let head_dim = self.options.head_dim;
        let keys = (piece.end * QUERIES).min(self.sample.length);
        let [mut d_key, mut d_value] = [vec![0.0; keys * head_dim], vec![0.0; keys * head_dim]];
        let first_row = self.rows(&piece).start;
        for block in self.blocks(piece) {
            let (queries, keys) = (self.queries(&block), block.keys());
            let rows = block.start * self.groups - first_row..block.end * self.groups - first_row;
            let at = rows.start * head_dim..rows.end * head_dim;
            let seen = block.first * head_dim..block.end * head_dim;
            let (output, grad) = (&outside.output[at.clone()], &outside.grad[at.clone()]);
            let size = queries.rows() * keys;
            scratch(2 * size, |buffer| {
                let (p, dz) = buffer.split_at_mut(size);
                let (key, value) = (self.seen(self.key, &block), self.seen(self.value, &block));
                let grads = View::new(grad, queries.rows(), head_dim);
                gemm(p, queries, key.transpose(), Write::Set, Threads::One);
                gemm(dz, grads, value.transpose(), Write::Set, Threads::One);
                let scores = p
                    .chunks_mut(keys)
                    .zip(dz.chunks_mut(keys))
                    .zip(self.visible(&block));
                let heads = output.chunks(head_dim).zip(grad.chunks(head_dim));
                let of_rows = heads.zip(&outside.log_sum_exp[rows.clone()]);
                for (((p, dz), visible), ((output, grad), &log_sum_exp)) in scores.zip(of_rows) {
                    let (p, dz) = (only(p, visible.clone()), only(dz, visible));
                    let delta = simd::dot(output, grad);
                    match self.cap() {
                        None => simd::score_gradients(p, dz, log_sum_exp, delta),
                        Some(cap) => simd::capped_score_gradients(p, dz, log_sum_exp, delta, cap),
                    }
                }
                round(p, self.options.precision);
                round(dz, self.options.precision);
                let [p, dz] = [
                    View::new(p, queries.rows(), keys),
                    View::new(dz, queries.rows(), keys),
                ];
                gemm(&mut d_query[at], dz, key, Write::Set, Threads::One);
                gemm(
                    &mut d_key[seen.clone()],
                    dz.transpose(),
                    queries,
                    Write::Add,
                    Threads::One,
                );
                gemm(&mut d_value[seen], p.transpose(), grads, Write::Add, Threads::One);
            });
        }
        [d_key, d_value]
    }
}

/// The visible part of a row of scores; the others become 0.
fn only(row: &mut [f32], visible: Range<usize>) -> &mut [f32] {
    row[..visible.start].fill(0.0);
    row[visible.end..].fill(0.0);
    &mut row[visible]
}

/// Lends a buffer of this thread, with whatever it holds.
fn scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(vec![]) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < length {
            buffer.resize(length, 0.0);
        }
        work(&mut buffer[..length])
    })
}
