//! The number format of a model's matrix products.
//!
//! ```text
//! f32     y = x Wᵀ
//! bf16    y = bf16(x) bf16(W)ᵀ               summed and kept in f32
//!         ∂x = bf16(∂y) bf16(W)     ∂W = bf16(∂y)ᵀ bf16(x)
//! ```
//!
//! This holds for every linear layer, the products of attention over whole sequences, and those of the likelihood,
//! forward and backward. Weights, gradients and moments stay f32, and so do norms, rotation, softmax, the residual
//! stream and all statistics. `PyTorch`'s autocast rounds the factors of the same products, and also their results.

use burn::tensor::Tensor;
pub use cadft_kernels::Precision;
use cadft_kernels::bf16_linear;

use crate::fused;

/// `x Wᵀ` over the last dimension of `x`; the result is f32 in either format.
///
/// # Shapes
/// - `x`: `[batch, seq, input]`
/// - `weight`: `[output, input]`
/// - output: `[batch, seq, output]`
pub(super) fn project(x: Tensor<3>, weight: Tensor<2>, precision: Precision) -> Tensor<3> {
    rows_of(x, |x| match precision {
        Precision::F32 => fused::linear(x, weight),
        Precision::Bf16 => bf16_linear(x, weight),
    })
}

/// Applies `f` to the positions of all rows together.
///
/// # Shapes
/// - `x`: `[batch, seq, input]`
/// - of `f`: `[batch * seq, input]` to `[batch * seq, output]`
/// - output: `[batch, seq, output]`
pub(super) fn rows_of(x: Tensor<3>, f: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<3> {
    let [batch, seq, input] = x.dims();
    let y = f(x.reshape([batch * seq, input]));
    let [_, output] = y.dims();
    y.reshape([batch, seq, output])
}
