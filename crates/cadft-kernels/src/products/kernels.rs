//! The products and their gradients on a plain backend; backends may override them.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
#[cfg(feature = "flex")]
use burn::backend::TensorMetadata;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;
use burn::tensor::FloatDType::F32;
#[cfg(feature = "fusion")]
use burn::tensor::Shape;

use super::cast::cast;
#[cfg(feature = "flex")]
use crate::{cpu::View, flex};

/// The products on a plain (not differentiated) backend, in a number format that the caller chooses.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub trait MatmulKernels: Backend {
    /// `lhs · rhs` without TF32. The default body is for backends that have no TF32.
    #[fusion(meta = |lhs, rhs| product(lhs, rhs))]
    fn full_product(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(lhs, rhs)
    }

    /// `lhs · rhs` in f32, with bf16 factors.
    #[fusion(meta = |lhs, rhs| product(lhs, rhs))]
    fn wide_product(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(Self::float_cast(lhs, F32), Self::float_cast(rhs, F32))
    }

    /// A factor in bf16; one that is in bf16 already stays so.
    #[fusion(meta = |x| TensorSpec::new(x.shape.clone(), DType::BF16))]
    fn bf16_factor(x: FloatTensor<Self>) -> FloatTensor<Self> {
        cast::<Self>(x, DType::BF16)
    }

    /// `x Wᵀ` in f32, with factors rounded to bf16.
    #[fusion(meta = |x, weight| projection(x, weight))]
    fn bf16_projection(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = cast::<Self>(weight, DType::BF16);
        Self::wide_product(cast::<Self>(x, DType::BF16), Self::float_transpose(weight))
    }

    /// `g W` in f32, with bf16 factors; an f32 `W` is rounded.
    #[fusion(meta = |grad, weight| product(grad, weight))]
    fn bf16_input_gradient(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::wide_product(grad, cast::<Self>(weight, DType::BF16))
    }

    /// `gᵀ x` in f32, with bf16 factors.
    #[fusion(meta = |grad, x| TensorSpec::new(Shape::new([grad.shape[1], x.shape[1]]), DType::F32))]
    fn bf16_weight_gradient(grad: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::wide_product(Self::float_transpose(grad), x)
    }
}

/// Rounded values are multiplied in f32: processors without instructions for bf16 have nothing faster.
#[cfg(feature = "flex")]
impl MatmulKernels for Flex {
    fn bf16_factor(x: FloatTensor<Self>) -> FloatTensor<Self> {
        flex::to_bf16(x)
    }

    fn bf16_projection(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, weight) = (Factor::new(x), Factor::new(weight));
        flex::product(x.view(), weight.view().transpose())
    }

    fn bf16_input_gradient(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (grad, weight) = (Factor::new(grad), Factor::new(weight));
        flex::product(grad.view(), weight.view())
    }

    fn bf16_weight_gradient(grad: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (grad, x) = (Factor::new(grad), Factor::new(x));
        flex::product(grad.view().transpose(), x.view())
    }
}

/// A matrix of rounded values.
#[cfg(feature = "flex")]
struct Factor {
    values: Vec<f32>,
    shape: [usize; 2],
}

#[cfg(feature = "flex")]
impl Factor {
    fn new(x: FloatTensor<Flex>) -> Self {
        let shape = x.shape().dims();
        let values = flex::bf16_factor(x);
        Self { values, shape }
    }

    fn view(&self) -> View<'_> {
        let [rows, columns] = self.shape;
        View::new(&self.values, rows, columns)
    }
}

#[cfg(feature = "ndarray")]
impl MatmulKernels for NdArray {}

/// The output type of `[.., m, k] · [.., k, n]`: `[.., m, n]`, f32.
#[cfg(feature = "fusion")]
fn product(lhs: &TensorSpec, rhs: &TensorSpec) -> TensorSpec {
    let mut output = TensorSpec::new(lhs.shape.clone(), DType::F32);
    let last = output.shape.num_dims() - 1;
    output.shape[last] = rhs.shape[last];
    output
}

/// The output type of `[n, k] · [m, k]ᵀ`: `[n, m]`, f32.
#[cfg(feature = "fusion")]
fn projection(x: &TensorSpec, weight: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[0], weight.shape[0]]), DType::F32)
}
