//! The decoder's operations, each with one entry: hand-written on Flex (CPU), tensor operations elsewhere.
//!
//! On Flex the forward pass keeps little and the backward pass is written out, in place of the chain of small
//! operations that automatic differentiation would run. The portable forms below are the definition and the test
//! oracle; other backends run them, and differentiate them automatically.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
mod autodiff;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod operations;
pub mod portable;
#[cfg(feature = "flex")]
mod simd;

/// `x Wᵀ`.
///
/// # Shapes
/// - `x`: `[rows, input]`
/// - `weight`: `[output, input]`
/// - output: `[rows, output]`
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if runs_on_flex(&x) && runs_on_flex(&weight) {
        return operations::linear(x, weight);
    }
    portable::linear(x, weight)
}

/// `w · x / √(mean(x²) + ε)` over the last dimension.
///
/// # Shapes
/// - `x`: `[batch, seq, hidden]`
/// - `weight`: `[hidden]`
/// - output: `[batch, seq, hidden]`
#[must_use]
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if runs_on_flex(&x) && runs_on_flex(&weight) {
        return operations::rms_norm(x, weight, epsilon);
    }
    portable::rms_norm(x, weight, epsilon)
}

/// `silu(gate) · up`.
///
/// # Shapes
/// - `gate`, `up`, output: `[batch, seq, intermediate]`
#[must_use]
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if runs_on_flex(&gate) && runs_on_flex(&up) {
        return operations::swiglu(gate, up);
    }
    portable::swiglu(gate, up)
}

/// The projected input of attention, and the tables that rotate it.
#[derive(Clone, Debug)]
pub struct AttentionInput {
    /// `[batch, seq, heads * head_dim]`.
    pub query: Tensor<3>,
    /// `[batch, seq, kv_heads * head_dim]`.
    pub key: Tensor<3>,
    /// `[batch, seq, kv_heads * head_dim]`.
    pub value: Tensor<3>,
    /// Cosines of the positions, `[seq, head_dim / 2]`.
    pub cos: Tensor<2>,
    /// Sines of the positions, `[seq, head_dim / 2]`.
    pub sin: Tensor<2>,
}

/// Causal grouped-query attention over whole sequences, with rotation of queries and keys.
///
/// # Shapes
/// - output: `[batch, seq, heads * head_dim]`
#[must_use]
pub fn causal_attention(input: AttentionInput) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if [&input.query, &input.key, &input.value]
        .into_iter()
        .all(runs_on_flex)
    {
        return operations::causal_attention(input);
    }
    portable::causal_attention(input)
}

/// Whether a tensor is f32 and on the Flex backend, with or without autodiff.
#[cfg(feature = "flex")]
fn runs_on_flex<const D: usize>(x: &Tensor<D>) -> bool {
    use burn::backend::DispatchDevice;
    x.dtype() == burn::tensor::DType::F32
        && matches!(
            x.device().without_autodiff().as_dispatch(),
            DispatchDevice::Flex(_)
        )
}
