//! The products as Burn dispatches them to backends, with and without autodiff.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use super::kernels::MatmulKernels;

/// The products as operations of tensors.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube")
)]
pub(crate) trait MatmulOperations: Backend {
    /// `lhs · rhs` without TF32.
    fn full_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x Wᵀ` in f32, with factors rounded to bf16.
    fn bf16_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

macro_rules! route {
    ($backend:ty) => {
        impl MatmulOperations for $backend {
            fn full_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::full_product(lhs, rhs)
            }

            fn bf16_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::bf16_projection(x, weight)
            }
        }
    };
}

#[cfg(feature = "flex")]
route!(Flex);

#[cfg(feature = "ndarray")]
route!(NdArray);

#[cfg(feature = "cube")]
route!(Cube);
