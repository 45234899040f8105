//! The decoder's operations, each with one entry point: hand-written kernels on Flex (CPU) and on the backends that
//! CubeCL compiles, tensor operations on others.
//!
//! The hand-written forward passes keep little, and the backward passes are explicit, instead of a chain of small
//! operations from automatic differentiation. The portable versions define the results and are the test oracle. Other
//! backends run them, and differentiate them automatically.

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
pub(crate) use flex::{SequenceCache, cached_attention, sigmoid, sum};

/// On Flex, products of up to this many rows are computed row by row. The order of a row's sum does not depend on the
/// other rows. Batches of generation have fewer rows.
pub(crate) use cadft_kernels::cpu::FEW_ROWS;

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

/// Selects the rows of a matrix by index; an index may occur several times.
///
/// # Shapes
/// - `x`: `[rows, columns]`
/// - `ids`: `[selected]`, each below `rows`
/// - output: `[selected, columns]`
#[must_use]
pub fn select_rows(x: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if has_kernels(&x) {
        return operations::select_rows(x, ids);
    }
    portable::select_rows(x, ids)
}

/// `x + b`, with the same `b` added to every row.
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

/// `activation(gate) · up`, in the dtype of a product's factor. For bf16, gate and up must be direct results of
/// products, because their gradients may be rounded as well.
///
/// # Shapes
/// - `gate`, `up`: `[batch, seq, intermediate]`, f32
/// - output: the same shape, in the dtype of `precision`
#[must_use]
pub fn gated(activation: Activation, gate: Tensor<3>, up: Tensor<3>, precision: Precision) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if has_kernels(&gate) && has_kernels(&up) {
        return operations::gated(activation, gate, up, precision);
    }
    portable::gated(activation, gate, up, precision)
}

/// The projected input of attention, its rotation, and the options of the scores.
#[derive(Clone, Debug)]
pub struct AttentionInput {
    /// `[batch, seq, heads * head_dim]`.
    pub query: Tensor<3>,
    /// `[batch, seq, kv_heads * head_dim]`.
    pub key: Tensor<3>,
    /// `[batch, seq, kv_heads * head_dim]`.
    pub value: Tensor<3>,
    /// Rotation of queries and keys; `None` without position encoding.
    pub rotation: Option<Rotation>,
    /// Options of the scores.
    pub options: AttentionOptions,
}

/// Cosines and sines of the positions, each `[batch or 1, seq, pairs]`.
///
/// Dimension `i` of a head is rotated with dimension `i + pairs`. Dimensions from `2 · pairs` on are not rotated.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Cosines.
    pub cos: Tensor<3>,
    /// Sines.
    pub sin: Tensor<3>,
}

/// How scores are computed, and which keys a query may attend to.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionOptions {
    /// Width of one head.
    pub head_dim: usize,
    /// Factor of the product of query and key.
    pub scale: f64,
    /// Maps scores `s` to `cap · tanh(s / cap)`.
    pub softcap: Option<f64>,
    /// Number of latest positions that a query attends to, including its own; `None` means no limit.
    pub window: Option<usize>,
    /// For every position of every row, the index in the row at which its sample starts: `batch · seq` numbers. `None`
    /// if every row is one sample.
    pub starts: Option<Arc<[usize]>>,
    /// The format of the factors of all products, including rotated and scaled queries, probabilities and gradients.
    /// Attention over a cache, and attention on backends without our kernels, multiplies in f32.
    pub precision: Precision,
}

impl AttentionOptions {
    /// The first key that a query of a row may attend to. The last one is at its own position.
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
    /// The slot of the row.
    pub(crate) slot: usize,
    /// Number of positions already in the slot.
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

/// `log Σ exp` of a row in host memory; NaN if an element is NaN or +∞, or if all are −∞.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    #[cfg(feature = "flex")]
    return flex::log_sum_exp(row);
    #[cfg(not(feature = "flex"))]
    portable::log_sum_exp(row)
}

/// Whether a tensor is f32 and its backend has our kernels, with or without autodiff.
#[cfg(any(feature = "flex", feature = "cube"))]
fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == burn::tensor::DType::F32 && cadft_kernels::has_kernels(&x.device())
}

/// Whether a tensor is f32 and on the Flex backend without autodiff.
#[cfg(feature = "flex")]
pub(crate) fn is_plain_flex<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == burn::tensor::DType::F32 && runs_on_cpu(&x.device())
}

/// Computes two independent results. On the CPU backend without autodiff they run in parallel if this is a thread of
/// the rayon pool, as in generation: its products are too small to use all threads one after the other.
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
