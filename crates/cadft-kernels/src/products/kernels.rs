//! The products and their gradients on a plain backend, which a backend may compute in its own way.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;
use burn::tensor::FloatDType::F32;
#[cfg(feature = "fusion")]
use burn::tensor::Shape;

use super::precision::cast;

/// The products on a plain (not differentiated) backend, whose number format is not left to it.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub trait MatmulKernels: Backend {
    /// `lhs · rhs`; the backends with the default body have no TF32.
    #[fusion(meta = |lhs, rhs| product(lhs, rhs))]
    fn full_product(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(lhs, rhs)
    }

    /// `lhs · rhs` in f32, of factors in bf16.
    #[fusion(meta = |lhs, rhs| product(lhs, rhs))]
    fn wide_product(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(Self::float_cast(lhs, F32), Self::float_cast(rhs, F32))
    }

    /// `x Wᵀ` in f32, of factors that are rounded to bf16.
    #[fusion(meta = |x, weight| projection(x, weight))]
    fn bf16_projection(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = cast::<Self>(weight, DType::BF16);
        Self::wide_product(cast::<Self>(x, DType::BF16), Self::float_transpose(weight))
    }

    /// `g W` in f32, of factors in bf16; `W` may be in f32, and is rounded.
    #[fusion(meta = |grad, weight| product(grad, weight))]
    fn bf16_input_gradient(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::wide_product(grad, cast::<Self>(weight, DType::BF16))
    }

    /// `gᵀ x` in f32, of factors in bf16.
    #[fusion(meta = |grad, x| TensorSpec::new(Shape::new([grad.shape[1], x.shape[1]]), DType::F32))]
    fn bf16_weight_gradient(grad: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::wide_product(Self::float_transpose(grad), x)
    }
}

#[cfg(feature = "flex")]
impl MatmulKernels for Flex {}

#[cfg(feature = "ndarray")]
impl MatmulKernels for NdArray {}

/// `[.., m, k] · [.., k, n]` is `[.., m, n]`, in f32.
#[cfg(feature = "fusion")]
fn product(lhs: &TensorSpec, rhs: &TensorSpec) -> TensorSpec {
    let mut output = TensorSpec::new(lhs.shape.clone(), DType::F32);
    let last = output.shape.num_dims() - 1;
    output.shape[last] = rhs.shape[last];
    output
}

/// `[n, k] · [m, k]ᵀ` is `[n, m]`, in f32.
#[cfg(feature = "fusion")]
fn projection(x: &TensorSpec, weight: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[0], weight.shape[0]]), DType::F32)
}
