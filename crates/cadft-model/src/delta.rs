//! Linear attention with a recurrent state: the causal convolution and the gated delta rule of Gated `DeltaNet` (Yang, Kautz
//! and Hatamizadeh 2024, arXiv 2412.06464), as Qwen3.5 has them.
//!
//! ```text
//! y_t = silu(Σ_i w_i x_{t−K+1+i})                                      causal convolution, i < K, channel by channel
//!
//! M_t = e^{g_t} M_{t−1} + k_t u_tᵀ,   u_t = β_t (v_t − e^{g_t} M_{t−1}ᵀ k_t)     gated delta rule
//! o_t = M_tᵀ q_t
//! ```
//!
//! `M` is the memory of a head, `[key_dim, value_dim]`. It is 0 before a sample begins, and so is `x`. On Flex both have kernels
//! of ours, forward and backward, which go through the tokens in order; samples and heads are independent. Other backends run
//! [`portable`], where the rule is computed in chunks of tokens, and differentiate it automatically.

use std::sync::Arc;

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
mod autodiff;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod kernels;
#[cfg(feature = "flex")]
mod operations;
pub mod portable;

/// Consecutive tokens of one sample each, which cover all tokens in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    lengths: Arc<[usize]>,
}

impl Segments {
    /// The segments with these lengths.
    #[must_use]
    pub fn new(lengths: Vec<usize>) -> Self {
        Self {
            lengths: lengths.into(),
        }
    }

    /// Number of segments.
    pub(crate) fn count(&self) -> usize {
        self.lengths.len()
    }

    /// The length of each segment.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The tokens of each segment.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.lengths.iter().scan(0, |end, length| {
            let start = *end;
            *end += length;
            Some(start..*end)
        })
    }
}

/// The tokens of a forward pass: the samples, and the slot of the cache that each continues, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) segments: Segments,
    pub(crate) slots: Vec<usize>,
}

/// Number and width of the heads of the delta rule. Consecutive value heads share a key head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaHeads {
    /// Number of heads of queries and keys.
    pub key_heads: usize,
    /// Number of heads of values; a multiple of `key_heads`.
    pub value_heads: usize,
    /// Width of a head of queries and keys.
    pub key_dim: usize,
    /// Width of a head of values.
    pub value_dim: usize,
}

impl DeltaHeads {
    /// Number of value heads that share a key head.
    pub(crate) fn groups(self) -> usize {
        self.value_heads / self.key_heads
    }
}

/// What the rule takes besides tensors.
#[cfg(feature = "flex")]
pub(crate) type DeltaOptions = (DeltaHeads, Segments);

/// The input of the gated delta rule. All tensors are f32.
#[derive(Clone, Debug)]
pub struct DeltaInput {
    /// `[tokens, key_heads * key_dim]`.
    pub query: Tensor<2>,
    /// `[tokens, key_heads * key_dim]`.
    pub key: Tensor<2>,
    /// `[tokens, value_heads * value_dim]`.
    pub value: Tensor<2>,
    /// `g`, the logarithm of what is left of the memory; at most 0, `[tokens, value_heads]`.
    pub decay: Tensor<2>,
    /// `β`, `[tokens, value_heads]`.
    pub beta: Tensor<2>,
    /// Number and width of the heads.
    pub heads: DeltaHeads,
    /// The samples.
    pub segments: Segments,
}

#[cfg(feature = "flex")]
impl DeltaInput {
    /// Queries, keys, values, decays and `β`, and the rest.
    fn into_parts(self) -> ([Tensor<2>; 5], DeltaOptions) {
        let tensors = [self.query, self.key, self.value, self.decay, self.beta];
        (tensors, (self.heads, self.segments))
    }
}

/// The causal convolution of every sample, and SiLU.
///
/// # Shapes
/// - `x`, output: `[tokens, channels]`
/// - `weight`: `[channels, kernel]`
#[must_use]
pub fn causal_conv(x: Tensor<2>, weight: Tensor<2>, segments: &Segments) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if is_flex(&x) && is_flex(&weight) {
        return operations::causal_conv(x, weight, segments.clone());
    }
    portable::causal_conv(x, weight, None, segments)
}

/// The outputs of the gated delta rule, from an empty memory.
///
/// # Shapes
/// - output: `[tokens, value_heads * value_dim]`
#[must_use]
pub fn delta_rule(input: DeltaInput) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if is_flex(&input.query) {
        return operations::delta_rule(input);
    }
    portable::delta_rule(input, None).0
}

/// The outputs of the gated delta rule from a given memory, and the memory after it; without gradient.
///
/// # Shapes
/// - `memory`, second output: `[segments, value_heads, key_dim, value_dim]`
/// - first output: `[tokens, value_heads * value_dim]`
pub(crate) fn delta_rule_after(input: DeltaInput, memory: Tensor<4>) -> (Tensor<2>, Tensor<4>) {
    #[cfg(feature = "flex")]
    if crate::fused::is_plain_flex(&input.query) {
        return operations::delta_rule_after(input, memory);
    }
    portable::delta_rule(input, Some(memory))
}

/// Whether a tensor is f32 and on the Flex backend, with or without autodiff.
#[cfg(feature = "flex")]
fn is_flex<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    let plain = if device.is_autodiff() {
        device.inner()
    } else {
        device
    };
    x.dtype() == burn::tensor::DType::F32 && crate::fused::runs_on_cpu(&plain)
}
