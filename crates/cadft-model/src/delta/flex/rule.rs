//! The gated delta rule, token by token. Samples and heads are independent.
//!
//! The backward pass goes through the tokens in reverse. With `M′ = e^g M_{t−1}`, `M = M′ + k uᵀ`, `u = β (v − M′ᵀ k)`, and the
//! gradient `D` of the memory after the token:
//!
//! ```text
//! D  += q doᵀ,           dq = M do
//! du  = Dᵀ k,            dk = D u − M′ (β du)
//! dv  = β du,            dβ = du · (v − M′ᵀ k)
//! D  −= k (β du)ᵀ,       dg = Σ D ∘ M′,        D ← e^g D
//! ```
//!
//! It keeps nothing of the forward pass: the memory before every [`BLOCK`] tokens is computed again, and from there that before
//! each token of a block.

use burn::backend::TensorMetadata;
use cadft_kernels::cpu::vectorised;
use cadft_kernels::flex::{Float, contiguous, floats, tensor};
use rayon::prelude::*;

use crate::delta::{DeltaHeads, Segments};
use crate::fused::sum;

/// Tokens whose memories the backward pass holds at once.
const BLOCK: usize = 16;

/// Queries, keys, values, decays and `β` of all tokens.
pub(in crate::delta) type Inputs<T> = [T; 5];

/// The outputs from an empty memory, `[tokens, value_heads * value_dim]`.
pub(in crate::delta) fn forward(inputs: Inputs<Float>, (heads, segments): &(DeltaHeads, Segments)) -> Float {
    let inputs = inputs.map(contiguous);
    let [tokens, width] = inputs[2].shape().dims::<2>();
    let size = heads.value_heads * heads.key_dim * heads.value_dim;
    let mut memory = vec![0.0; segments.count() * size];
    let outputs = outputs(inputs.each_ref().map(floats), *heads, segments, &mut memory);
    tensor(outputs, [tokens, width])
}

/// The outputs. `memory` is `[segments, value_heads, key_dim, value_dim]`, and is updated.
pub(in crate::delta) fn outputs(
    inputs: Inputs<&[f32]>,
    heads: DeltaHeads,
    segments: &Segments,
    memory: &mut [f32],
) -> Vec<f32> {
    let ranges: Vec<_> = segments.ranges().collect();
    let of_heads: Vec<Vec<f32>> = memory
        .par_chunks_mut(heads.key_dim * heads.value_dim)
        .enumerate()
        .map(|(index, memory)| {
            let (range, head) = (
                ranges[index / heads.value_heads].clone(),
                index % heads.value_heads,
            );
            let mut outputs = vec![0.0; range.len() * heads.value_dim];
            vectorised(
                #[inline(always)]
                || {
                    let mut step = Step::new(heads);
                    for (token, output) in range.clone().zip(outputs.chunks_mut(heads.value_dim)) {
                        let token = Token::new(inputs, heads, head, token);
                        step.write(&token, memory);
                        step.read(&token, memory, output);
                    }
                },
            );
            outputs
        })
        .collect();
    merged(&of_heads, &ranges, heads.value_heads, heads.value_dim)
}

/// The gradients of the inputs, from that of the outputs, for an empty memory at the beginning.
pub(in crate::delta) fn backward(
    inputs: Inputs<Float>,
    grad: Float,
    (heads, segments): &(DeltaHeads, Segments),
) -> Inputs<Float> {
    let (inputs, grad) = (inputs.map(contiguous), contiguous(grad));
    let shapes = inputs.each_ref().map(|input| input.shape().dims::<2>());
    let (values, grad) = (inputs.each_ref().map(floats), floats(&grad));
    let ranges: Vec<_> = segments.ranges().collect();
    let count = ranges.len() * heads.value_heads;
    let of_heads: Vec<Inputs<Vec<f32>>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let (range, head) = (
                ranges[index / heads.value_heads].clone(),
                index % heads.value_heads,
            );
            let mut gradients = [heads.key_dim, heads.key_dim, heads.value_dim, 1, 1]
                .map(|width| vec![0.0; range.len() * width]);
            vectorised(
                #[inline(always)]
                || of_head(values, grad, *heads, head, range.clone(), &mut gradients),
            );
            gradients
        })
        .collect();
    let mut parts: Inputs<Vec<Vec<f32>>> = std::array::from_fn(|_| Vec::with_capacity(count));
    for gradients in of_heads {
        parts
            .iter_mut()
            .zip(gradients)
            .for_each(|(parts, own)| parts.push(own));
    }
    let [query, key, value, decay, beta] = parts;
    let of_keys = |parts: Vec<Vec<f32>>| {
        let summed: Vec<Vec<f32>> = parts.chunks(heads.groups()).map(total).collect();
        merged(&summed, &ranges, heads.key_heads, heads.key_dim)
    };
    let of_values = |parts: Vec<Vec<f32>>, width| merged(&parts, &ranges, heads.value_heads, width);
    let merged = [
        of_keys(query),
        of_keys(key),
        of_values(value, heads.value_dim),
        of_values(decay, 1),
        of_values(beta, 1),
    ];
    let mut shapes = shapes.into_iter();
    merged.map(|values| tensor(values, shapes.next().unwrap_or_default()))
}

/// The gradients of one head of one sample, into zeros.
#[inline(always)]
fn of_head(
    inputs: Inputs<&[f32]>,
    grad: &[f32],
    heads: DeltaHeads,
    head: usize,
    range: std::ops::Range<usize>,
    gradients: &mut Inputs<Vec<f32>>,
) {
    let DeltaHeads {
        key_dim, value_dim, ..
    } = heads;
    let size = key_dim * value_dim;
    let token = |index: usize| Token::new(inputs, heads, head, range.start + index);
    let mut step = Step::new(heads);
    let mut memory = vec![0.0; size];
    let mut before_blocks = Vec::with_capacity(range.len().div_ceil(BLOCK) * size);
    for index in 0..range.len() {
        if index % BLOCK == 0 {
            before_blocks.extend_from_slice(&memory);
        }
        step.write(&token(index), &mut memory);
    }
    let (mut before, mut updates) = (vec![0.0; BLOCK * size], vec![0.0; BLOCK * value_dim]);
    let (mut d_memory, mut d_update) = (vec![0.0; size], vec![0.0; value_dim]);
    for (block, at_start) in before_blocks.chunks(size).enumerate().rev() {
        let own = block * BLOCK..range.len().min((block + 1) * BLOCK);
        memory.copy_from_slice(at_start);
        for (place, index) in own.clone().enumerate() {
            before[place * size..][..size].copy_from_slice(&memory);
            step.write(&token(index), &mut memory);
            updates[place * value_dim..][..value_dim].copy_from_slice(&step.update);
        }
        for (place, index) in own.enumerate().rev() {
            let token = token(index);
            let (before, update) = (
                &before[place * size..][..size],
                &updates[place * value_dim..][..value_dim],
            );
            let at = (range.start + index) * heads.value_heads * value_dim + head * value_dim;
            let d_output = &grad[at..at + value_dim];
            let left = token.decay.exp();
            let along = dot(update, d_output);
            d_update.fill(0.0);
            for row in 0..key_dim {
                let own = row * value_dim..(row + 1) * value_dim;
                let (d_row, before) = (&mut d_memory[own.clone()], &before[own]);
                add_scaled(d_row, token.query[row], d_output);
                add_scaled(&mut d_update, token.key[row], d_row);
                gradients[0][index * key_dim + row] = left * dot(before, d_output) + token.key[row] * along;
                gradients[1][index * key_dim + row] = dot(d_row, update);
            }
            step.see(&token, before);
            let mut d_beta = 0.0;
            for ((d_update, value), seen) in d_update.iter_mut().zip(token.value).zip(&step.seen) {
                d_beta += *d_update * (value - left * seen);
                *d_update *= token.beta;
            }
            gradients[2][index * value_dim..][..value_dim].copy_from_slice(&d_update);
            let mut d_decay = 0.0;
            for row in 0..key_dim {
                let own = row * value_dim..(row + 1) * value_dim;
                let (d_row, before) = (&mut d_memory[own.clone()], &before[own]);
                gradients[1][index * key_dim + row] -= left * dot(before, &d_update);
                add_scaled(d_row, -token.key[row], &d_update);
                d_decay += dot(d_row, before);
                d_row.iter_mut().for_each(|d| *d *= left);
            }
            gradients[3][index] = left * d_decay;
            gradients[4][index] = d_beta;
        }
    }
}

/// What a head has of a token.
struct Token<'a> {
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    decay: f32,
    beta: f32,
}

impl<'a> Token<'a> {
    #[inline(always)]
    fn new(inputs: Inputs<&'a [f32]>, heads: DeltaHeads, head: usize, token: usize) -> Self {
        let [query, key, value, decay, beta] = inputs;
        let of_key = (token * heads.key_heads + head / heads.groups()) * heads.key_dim;
        let of_value = token * heads.value_heads + head;
        Self {
            query: &query[of_key..][..heads.key_dim],
            key: &key[of_key..][..heads.key_dim],
            value: &value[of_value * heads.value_dim..][..heads.value_dim],
            decay: decay[of_value],
            beta: beta[of_value],
        }
    }
}

/// What is computed at a token.
struct Step {
    /// `M_{t−1}ᵀ k`, before the decay.
    seen: Vec<f32>,
    /// `u`.
    update: Vec<f32>,
}

impl Step {
    fn new(heads: DeltaHeads) -> Self {
        Self {
            seen: vec![0.0; heads.value_dim],
            update: vec![0.0; heads.value_dim],
        }
    }

    #[inline(always)]
    fn see(&mut self, token: &Token<'_>, memory: &[f32]) {
        self.seen.fill(0.0);
        for (row, &key) in memory.chunks_exact(self.seen.len()).zip(token.key) {
            add_scaled(&mut self.seen, key, row);
        }
    }

    /// Updates the memory.
    #[inline(always)]
    fn write(&mut self, token: &Token<'_>, memory: &mut [f32]) {
        self.see(token, memory);
        let left = token.decay.exp();
        for ((update, value), seen) in self.update.iter_mut().zip(token.value).zip(&self.seen) {
            *update = token.beta * (value - left * seen);
        }
        for (row, &key) in memory.chunks_exact_mut(self.update.len()).zip(token.key) {
            for (m, update) in row.iter_mut().zip(&self.update) {
                *m = left * *m + key * update;
            }
        }
    }

    /// `Mᵀ q`, into zeros.
    #[inline(always)]
    fn read(&self, token: &Token<'_>, memory: &[f32], output: &mut [f32]) {
        for (row, &query) in memory.chunks_exact(output.len()).zip(token.query) {
            add_scaled(output, query, row);
        }
    }
}

/// `sum += factor · x`.
#[inline(always)]
fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
}

/// `a · b`.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    sum(a.len(), |i| a[i] * b[i])
}

/// The sum of vectors of equal length, in their order.
fn total(parts: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = parts[0].clone();
    for part in &parts[1..] {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sum
}

/// The values of the heads of every sample, `[length, width]` each, as `[tokens, heads * width]`.
fn merged(parts: &[Vec<f32>], ranges: &[std::ops::Range<usize>], heads: usize, width: usize) -> Vec<f32> {
    let tokens = ranges.last().map_or(0, |range| range.end);
    let mut all = vec![0.0; tokens * heads * width];
    for (range, parts) in ranges.iter().zip(parts.chunks(heads)) {
        let own = &mut all[range.start * heads * width..range.end * heads * width];
        own.par_chunks_mut(heads * width)
            .enumerate()
            .for_each(|(index, row)| {
                for (row, part) in row.chunks_mut(width).zip(parts) {
                    row.copy_from_slice(&part[index * width..][..width]);
                }
            });
    }
    all
}
