//! The number format in which the linear layers of the blocks multiply.
//!
//! ```text
//! f32     y = x Wᵀ
//! bf16    y = bf16(x) bf16(W)ᵀ               summed and kept in f32
//!         ∂x = bf16(∂y) bf16(W)     ∂W = bf16(∂y)ᵀ bf16(x)
//! ```
//!
//! Weights, gradients and moments stay f32, and so do norms, rotation, attention, the residual stream, the likelihood and
//! all statistics: only the factors of the linear layers are in bf16, forward and backward. `PyTorch`'s autocast rounds the
//! products too.

use burn::tensor::Tensor;
use cadft_matmul::bf16_linear;

use crate::fused;

/// The number format of the products of linear layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// The upper half of 32 bits, with f32 master weights.
    Bf16,
}

impl Precision {
    /// `x Wᵀ` over the last dimension of `x`, in f32 whatever the format of the product.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - `weight`: `[output, input]`
    /// - output: `[batch, seq, output]`
    pub(super) fn project(self, x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
        let [batch, seq, input] = x.dims();
        let [output, _] = weight.dims();
        let x = x.reshape([batch * seq, input]);
        let y = match self {
            Self::F32 => fused::linear(x, weight),
            Self::Bf16 => bf16_linear(x, weight),
        };
        y.reshape([batch, seq, output])
    }
}
