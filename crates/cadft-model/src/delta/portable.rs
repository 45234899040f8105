//! The operations as plain tensor operations; they define the results on every backend.
//!
//! The rule is computed in chunks, all of them together but for the memory that goes from one to the next (Yang, Wang, Zhang,
//! Shen and Kim 2024, arXiv 2406.06484, with the decay of arXiv 2412.06464):
//!
//! ```text
//! G_i = Σ_{j ≤ i} g_j,   L_ij = e^{G_i − G_j} for j ≤ i, else 0                    in the chunk
//! A   = strictly lower part of (β k kᵀ ∘ L),   T = (I + A)⁻¹
//! u   = T (β v) − T (β k e^G) M
//! o   = (q e^G) M + (q kᵀ ∘ L) u
//! M   ← e^{G_last} M + (k e^{G_last − G})ᵀ u
//! ```

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use cadft_kernels::matmul;

use super::{DeltaHeads, DeltaInput, Segments};

/// Most tokens of a chunk; a power of 2.
const CHUNK: usize = 64;
/// `e^−HUGE` is 0.
const HUGE: f32 = 1e30;

/// See [`super::causal_conv`]. `before` has the inputs before each sample, `[segments, kernel - 1, channels]`; `None` stands
/// for zeros.
#[must_use]
pub fn causal_conv(
    x: Tensor<2>,
    weight: Tensor<2>,
    before: Option<Tensor<3>>,
    segments: &Segments,
) -> Tensor<2> {
    let ([tokens, channels], [_, kernel]) = (x.dims(), weight.dims());
    let device = x.device();
    let held = kernel - 1;
    let before = match before {
        Some(before) => before.reshape([segments.count() * held, channels]),
        None => Tensor::zeros([segments.count() * held, channels], &device),
    };
    let all = if held == 0 {
        x
    } else {
        Tensor::cat(vec![x, before], 0)
    };
    let weight = weight.transpose(); // [kernel, channels]
    let terms = (0..kernel).map(|index| {
        let back = held - index;
        let rows = segments.ranges().enumerate().flat_map(|(segment, range)| {
            let (start, end) = (range.start, range.end);
            (start..end).map(move |token| match (token - start).checked_sub(back) {
                Some(at) => start + at,
                None => tokens + segment * held + held + (token - start) - back,
            })
        });
        let rows = all.clone().select(0, ids(rows, &device));
        rows * weight.clone().slice_dim(0, index..index + 1)
    });
    let sum = terms.reduce(|sum, term| sum + term);
    activation::silu(sum.expect("a convolution has a kernel"))
}

/// The outputs of the gated delta rule, and the memory after it. `memory` is that before it; `None` stands for zeros.
///
/// # Shapes
/// - `memory`, second output: `[segments, value_heads, key_dim, value_dim]`
/// - first output: `[tokens, value_heads * value_dim]`
#[must_use]
pub fn delta_rule(input: DeltaInput, memory: Option<Tensor<4>>) -> (Tensor<2>, Tensor<4>) {
    let DeltaInput {
        query,
        key,
        value,
        decay,
        beta,
        heads,
        segments,
    } = input;
    let (device, count) = (query.device(), segments.count());
    let DeltaHeads {
        value_heads,
        key_dim,
        value_dim,
        ..
    } = heads;
    let batch = count * value_heads;
    let longest = segments.lengths().iter().copied().max().unwrap_or(0).max(1);
    let chunk = longest.next_power_of_two().min(CHUNK);
    let chunks = longest.div_ceil(chunk);
    let padded = Padded {
        segments: &segments,
        chunks,
        chunk,
    };
    let of_keys = |x: Tensor<2>| padded.by_head(x, heads.key_heads, heads.groups());
    let of_values = |x: Tensor<2>| padded.by_head(x, value_heads, 1);
    let (query, key) = (of_keys(query), of_keys(key)); // [batch, chunks, chunk, key_dim]
    let (value, decay, beta) = (of_values(value), of_values(decay), of_values(beta)); // [batch, chunks, chunk, _]

    let lower = triangle(chunk, 0, &device); // [1, 1, chunk, chunk]
    let sums = (lower.clone() * decay.swap_dims(2, 3)).sum_dim(3); // G, [batch, chunks, chunk, 1]
    let between = sums.clone() - sums.clone().swap_dims(2, 3);
    let between = (between * lower.clone() + (lower - 1.0) * HUGE).exp(); // L
    let grown = sums.clone().exp();
    let weighed = key.clone() * beta.clone();
    let products = matmul(weighed.clone(), key.clone().swap_dims(2, 3)) * between.clone();
    let inverse = inverse(&products, chunk, &device);
    let written = matmul(inverse.clone(), value * beta); // T (β v)
    let seen = matmul(inverse, weighed * grown.clone()); // T (β k e^G)
    let scores = matmul(query.clone(), key.clone().swap_dims(2, 3)) * between;
    let query = query * grown;
    let last = sums.clone().slice_dim(2, chunk - 1..chunk); // [batch, chunks, 1, 1]
    let key = key * (last.clone() - sums).exp();
    let kept = last.exp();

    let mut memory = match memory {
        Some(memory) => memory.reshape([batch, 1, key_dim, value_dim]),
        None => Tensor::zeros([batch, 1, key_dim, value_dim], &device),
    };
    let mut outputs = Vec::with_capacity(chunks);
    for index in 0..chunks {
        let own = |x: &Tensor<4>| x.clone().slice_dim(1, index..index + 1);
        let update = own(&written) - matmul(own(&seen), memory.clone());
        outputs.push(matmul(own(&query), memory.clone()) + matmul(own(&scores), update.clone()));
        memory = memory * own(&kept) + matmul(own(&key).swap_dims(2, 3), update);
    }
    let output = padded.by_token(Tensor::cat(outputs, 1), value_heads);
    (output, memory.reshape([count, value_heads, key_dim, value_dim]))
}

/// `(I + A)⁻¹` for the strictly lower part of each matrix `[.., size, size]`, block by block: the inverse of a block of `2 s`
/// rows follows from those of its two halves.
fn inverse(matrix: &Tensor<4>, size: usize, device: &Device) -> Tensor<4> {
    let [batch, chunks, _, _] = matrix.dims();
    let identity = triangle(size, 0, device) - triangle(size, 1, device);
    let mut inverse = identity.expand([batch, chunks, size, size]);
    let mut half = 1;
    while half < size {
        let part = matrix.clone() * quadrants(size, half, device);
        inverse = inverse.clone() - matmul(inverse.clone(), matmul(part, inverse));
        half *= 2;
    }
    inverse
}

/// 1 where the column is at least `below` before the row, otherwise 0, `[1, 1, size, size]`.
fn triangle(size: usize, below: usize, device: &Device) -> Tensor<4> {
    mask(size, |row, column| column + below <= row, device)
}

/// 1 in the lower left quarter of every diagonal block of `2 half` rows, otherwise 0, `[1, 1, size, size]`.
fn quadrants(size: usize, half: usize, device: &Device) -> Tensor<4> {
    let block = |at: usize| at / (2 * half);
    let is_in = |row: usize, column: usize| {
        block(row) == block(column) && !(row / half).is_multiple_of(2) && (column / half).is_multiple_of(2)
    };
    mask(size, is_in, device)
}

fn mask(size: usize, is_one: impl Fn(usize, usize) -> bool, device: &Device) -> Tensor<4> {
    let values = (0..size * size).map(|at| if is_one(at / size, at % size) { 1.0f32 } else { 0.0 });
    Tensor::from_data(TensorData::new(values.collect(), [1, 1, size, size]), device)
}

/// The samples as rows of equal length, in chunks. Places after the end of a sample are zero.
struct Padded<'a> {
    segments: &'a Segments,
    chunks: usize,
    chunk: usize,
}

impl Padded<'_> {
    /// `[tokens, heads * dim]` to `[segments * heads * groups, chunks, chunk, dim]`.
    fn by_head(&self, x: Tensor<2>, heads: usize, groups: usize) -> Tensor<4> {
        let ([tokens, width], device) = (x.dims(), x.device());
        let (count, length) = (self.segments.count(), self.chunks * self.chunk);
        let places = (self.segments.ranges()).flat_map(|range| {
            (0..length).map(move |at| {
                if at < range.len() {
                    range.start + at
                } else {
                    tokens
                }
            })
        });
        let x = Tensor::cat(vec![x, Tensor::zeros([1, width], &device)], 0);
        let dim = width / heads;
        let x = x
            .select(0, ids(places, &device))
            .reshape([count, length, heads, dim]);
        let x = x.swap_dims(1, 2).reshape([count * heads, 1, length, dim]);
        // CubeCL's sum over a dimension of size 1 mixes up the elements of a tensor with another order in memory, and the gradient
        // of a repetition is such a sum.
        let x = if groups == 1 { x } else { x.repeat_dim(1, groups) };
        x.reshape([count * heads * groups, self.chunks, self.chunk, dim])
    }

    /// `[segments * heads, chunks, chunk, dim]` to `[tokens, heads * dim]`.
    fn by_token(&self, x: Tensor<4>, heads: usize) -> Tensor<2> {
        let ([_, _, _, dim], device) = (x.dims(), x.device());
        let (count, length) = (self.segments.count(), self.chunks * self.chunk);
        let x = x.reshape([count, heads, length, dim]).swap_dims(1, 2);
        let places = (self.segments.lengths().iter().enumerate())
            .flat_map(|(segment, &own)| (0..own).map(move |at| segment * length + at));
        x.reshape([count * length, heads * dim])
            .select(0, ids(places, &device))
    }
}

fn ids(indices: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i64> = indices.map(|index| index as i64).collect();
    let count = indices.len();
    Tensor::from_data(TensorData::new(indices, [count]), device)
}
