//! The decoder's operations, each with one entry: hand-written on Flex (CPU) and on the backends that CubeCL compiles,
//! tensor operations elsewhere.
//!
//! Where they are hand-written the forward pass keeps little and the backward pass is written out, in place of the chain
//! of small operations that automatic differentiation would run. The portable forms below are the definition and the
//! test oracle; other backends run them, and differentiate them automatically.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor};
use cadft_kernels::Precision;

#[cfg(any(feature = "flex", feature = "cube"))]
mod autodiff;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(any(feature = "flex", feature = "cube"))]
mod kernels;
#[cfg(any(feature = "flex", feature = "cube"))]
mod operations;
pub mod portable;

#[cfg(feature = "flex")]
pub(crate) use flex::{SequenceCache, cached_attention};

/// On Flex, products of up to this many rows are computed row by row, each in an order that does not depend on the others:
/// batches of generation stay below.
pub(crate) const FEW_ROWS: usize = 128;

/// `x Wᵀ`.
///
/// # Shapes
/// - `x`: `[rows, input]`
/// - `weight`: `[output, input]`
/// - output: `[rows, output]`
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if has_kernels(&x) && has_kernels(&weight) {
        return operations::linear(x, weight);
    }
    portable::linear(x, weight)
}

/// The rows of a matrix that `ids` names, some of them more than once perhaps.
///
/// # Shapes
/// - `x`: `[rows, columns]`
/// - `ids`: `[selected]`, each less than `rows`
/// - output: `[selected, columns]`
#[must_use]
pub fn select_rows(x: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if has_kernels(&x) {
        return operations::select_rows(x, ids);
    }
    portable::select_rows(x, ids)
}

/// `x + b`, with the same `b` for every row.
///
/// # Shapes
/// - `x`, output: `[rows, columns]`
/// - `bias`: `[columns]`
#[must_use]
pub fn add_bias(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if has_kernels(&x) && has_kernels(&bias) {
        return operations::add_bias(x, bias);
    }
    portable::add_bias(x, bias)
}

/// `w · x / √(mean(x²) + ε)` over the last dimension.
///
/// # Shapes
/// - `x`: `[batch, seq, hidden]`
/// - `weight`: `[hidden]`
/// - output: `[batch, seq, hidden]`
#[must_use]
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if has_kernels(&x) && has_kernels(&weight) {
        return operations::rms_norm(x, weight, epsilon);
    }
    portable::rms_norm(x, weight, epsilon)
}

/// The activation of a gated unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x σ(x)`.
    Silu,
    /// The tanh form of GELU, `x σ(2 √(2/π) (x + 0.044715 x³))`; `gelu_pytorch_tanh` in transformers.
    GeluTanh,
}

/// `activation(gate) · up`, as the factor of a product. In bf16 the gradients may be rounded too: gate and up must be products
/// themselves, which round the gradients that they get.
///
/// # Shapes
/// - `gate`, `up`, output: `[batch, seq, intermediate]`; gate and up in f32
#[must_use]
pub fn gated(activation: Activation, gate: Tensor<3>, up: Tensor<3>, precision: Precision) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if has_kernels(&gate) && has_kernels(&up) {
        return operations::gated(activation, gate, up, precision);
    }
    portable::gated(activation, gate, up, precision)
}

/// The projected input of attention, what rotates it, and what else decides the scores.
#[derive(Clone, Debug)]
pub struct AttentionInput {
    /// `[batch, seq, heads * head_dim]`.
    pub query: Tensor<3>,
    /// `[batch, seq, kv_heads * head_dim]`.
    pub key: Tensor<3>,
    /// `[batch, seq, kv_heads * head_dim]`.
    pub value: Tensor<3>,
    /// Rotates queries and keys; `None` if positions do not enter.
    pub rotation: Option<Rotation>,
    /// What else decides the scores.
    pub options: AttentionOptions,
}

/// Cosines and sines of the positions, each `[batch or 1, seq, pairs]`.
///
/// Dimension `i` of a head is rotated with dimension `i + pairs`; dimensions from `2 · pairs` on stay.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Cosines.
    pub cos: Tensor<3>,
    /// Sines.
    pub sin: Tensor<3>,
}

/// How scores are made, and which keys a query may attend to.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionOptions {
    /// Width of one head.
    pub head_dim: usize,
    /// What the product of query and key is multiplied by.
    pub scale: f64,
    /// Scores `s` become `cap · tanh(s / cap)`.
    pub softcap: Option<f64>,
    /// How many of the latest positions a query attends to, its own included.
    pub window: Option<usize>,
    /// For every position of every row, the index in the row at which its sample begins, `batch · seq` numbers; none
    /// where every row is one sample.
    pub starts: Option<Arc<[usize]>>,
    /// The format of the factors of all products, the rotated and scaled queries, probabilities and gradients among them.
    /// Attention over a cache, and where a backend has no kernels, multiplies in f32.
    pub precision: Precision,
}

impl AttentionOptions {
    /// The first key that a query of row `row` of a whole batch may attend to; the last is its own position.
    pub(crate) fn first_key(&self, row: usize, position: usize, seq: usize) -> usize {
        let start = self
            .starts
            .as_ref()
            .map_or(0, |starts| starts[row * seq + position]);
        let window = self
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        start.max(window)
    }
}

/// Where a row of a forward pass continues in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheRow {
    /// Its slot.
    pub(crate) slot: usize,
    /// Positions that the slot holds.
    pub(crate) start: usize,
}

/// Causal grouped-query attention over whole sequences, with rotation of queries and keys.
///
/// # Shapes
/// - output: `[batch, seq, heads * head_dim]`
#[must_use]
pub fn causal_attention(input: AttentionInput) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if [&input.query, &input.key, &input.value]
        .into_iter()
        .all(has_kernels)
    {
        return operations::causal_attention(input);
    }
    portable::causal_attention(input)
}

/// `log Σ exp` of a row in memory; NaN where an element is NaN or +∞, or all are −∞.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    #[cfg(feature = "flex")]
    return flex::log_sum_exp(row);
    #[cfg(not(feature = "flex"))]
    portable::log_sum_exp(row)
}

/// Whether a tensor is f32 and on a backend with kernels, with or without autodiff.
#[cfg(any(feature = "flex", feature = "cube"))]
fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == burn::tensor::DType::F32 && cadft_kernels::has_kernels(&x.device())
}

/// Whether a tensor is f32 and on the Flex backend without autodiff.
#[cfg(feature = "flex")]
pub(crate) fn is_plain_flex<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == burn::tensor::DType::F32 && runs_on_cpu(&x.device())
}

/// Two results that do not need each other: side by side where this is a thread of the pool already, as in generation on
/// the CPU, whose products are too small to wait for one after the other.
pub(crate) fn both<A: Send, B: Send>(
    device: &Device,
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    if runs_on_cpu(device) && rayon::current_thread_index().is_some() {
        rayon::join(first, second)
    } else {
        (first(), second())
    }
}

/// Whether a device is that of the Flex backend, without autodiff.
pub(crate) fn runs_on_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    if matches!(device.as_dispatch(), burn::backend::DispatchDevice::Flex(_)) {
        return true;
    }
    let _ = device;
    false
}
