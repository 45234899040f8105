//! The update on a backend without autodiff. The default bodies are portable; a backend with faster kernels overrides
//! them.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

use super::{Rates, portable};
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::{DType, Shape};

#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
/// AdamW, and the sums for clipping. Not differentiable.
pub(crate) trait UpdateKernels: Backend {
    /// The parameter and its two moments after an update.
    #[fusion(meta = |value, _, _, first, second, _| (value.clone(), first.clone(), second.clone()))]
    fn adamw(
        value: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: Rates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::adamw::<Self>([value, first, second], grad, factor, rates)
    }

    /// `sum + part`.
    #[fusion(meta = |sum, _| sum.clone())]
    fn accumulate(sum: FloatTensor<Self>, part: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_add(sum, part)
    }

    /// The sum of the squares of a gradient, `[1]`.
    #[fusion(meta = |_| TensorSpec::new(Shape::new([1]), DType::F32))]
    fn sum_of_squares(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_sum(Self::float_mul(grad.clone(), grad))
    }
}

#[cfg(feature = "ndarray")]
impl UpdateKernels for NdArray {}
