//! Products of f32 matrices: in f32, in TF32 if the device has it and it is allowed, or with factors rounded to bf16.
//!
//! ```text
//! f32     y = Σ_k a_k · b_k                      24 bits a factor
//! TF32    y = Σ_k tf32(a_k) · tf32(b_k)          11 bits a factor, sums in f32
//! bf16    y = Σ_k bf16(a_k) · bf16(b_k)           8 bits a factor, sums in f32
//! ```
//!
//! CubeCL uses TF32 for f32 products on tensor cores if the device has it, and has no setting for this. If TF32 is
//! refused, such a product is launched with a kernel without tensor cores, so that forward and backward stay in f32.

mod autodiff;
mod cast;
#[cfg(feature = "cube")]
mod cube;
mod kernels;
mod operations;
mod precision;
mod tf32;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::{DType, Tensor};

pub use cast::cast;
#[cfg(feature = "cube")]
pub use cube::{
    add_rows, column_sums, cube_input_gradient, cube_matmul, cube_weight_gradient, reduce, sum_of_squares,
};
pub use kernels::MatmulKernels;
use operations::MatmulOperations;
pub use precision::Precision;
pub use tf32::{Tf32, set_tf32, tf32};

/// `lhs · rhs` over the last two dimensions. The process-wide setting [`tf32()`] decides whether TF32 is allowed.
///
/// # Shapes
/// - `lhs`: `[.., m, k]`
/// - `rhs`: `[.., k, n]`, with the other dimensions of `lhs`
/// - output: `[.., m, n]`
#[must_use]
pub fn matmul<const D: usize>(lhs: Tensor<D>, rhs: Tensor<D>) -> Tensor<D> {
    match tf32() {
        Tf32::Allowed => lhs.matmul(rhs),
        Tf32::Refused => full_matmul(lhs, rhs),
    }
}

/// [`matmul`] on backend tensors, without autodiff. Both factors have one format, f32 or bf16; the result is f32.
#[must_use]
pub fn backend_matmul<B: MatmulKernels>(lhs: FloatTensor<B>, rhs: FloatTensor<B>) -> FloatTensor<B> {
    if lhs.dtype() == DType::BF16 {
        B::wide_product(lhs, rhs)
    } else if tf32() == Tf32::Refused {
        B::full_product(lhs, rhs)
    } else {
        B::float_matmul(lhs, rhs)
    }
}

/// [`matmul`] without TF32. If a factor is not f32, the backend's own product is used.
///
/// # Panics
/// If both factors are f32 and their dimensions before the last two differ.
#[must_use]
pub fn full_matmul<const D: usize>(lhs: Tensor<D>, rhs: Tensor<D>) -> Tensor<D> {
    if lhs.dtype() != DType::F32 || rhs.dtype() != DType::F32 {
        return lhs.matmul(rhs);
    }
    let (of_lhs, of_rhs) = (lhs.dims(), rhs.dims());
    let outer = D.saturating_sub(2);
    assert_eq!(
        of_lhs[..outer],
        of_rhs[..outer],
        "the batches of both factors must agree"
    );
    Tensor::from_dispatch(Dispatch::full_matmul(lhs.into_dispatch(), rhs.into_dispatch()))
}

/// `x Wᵀ` with factors rounded to bf16; sums and result are f32. Both gradients are computed alike, with ∂y rounded
/// too.
///
/// # Shapes
/// - `x`: `[rows, input]`, f32 or bf16
/// - `weight`: `[output, input]`, f32 or bf16
/// - output: `[rows, output]`, f32
#[must_use]
pub fn bf16_linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::bf16_linear(x.into_dispatch(), weight.into_dispatch()))
}
