//! The products of a packed matrix as Burn dispatches them to backends, with and without autodiff.

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
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

use super::format::PackedLayout;
use super::kernels::PackedKernels;
use crate::products::Precision;

/// The products as operations of tensors.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube")
)]
pub(crate) trait PackedOperations: Backend {
    /// `x Wᵀ` in f32, with the gradient of `x`.
    fn packed_linear(
        x: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        precision: Precision,
    ) -> FloatTensor<Self>;

    /// The sums of the squares of the rows, `[output]`.
    fn packed_squares(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self>;

    /// The matrix in f32, `[output, input]`.
    fn packed_values(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self>;
}

macro_rules! route {
    ($backend:ty) => {
        impl PackedOperations for $backend {
            fn packed_linear(
                x: FloatTensor<Self>,
                codes: IntTensor<Self>,
                scales: FloatTensor<Self>,
                layout: PackedLayout,
                precision: Precision,
            ) -> FloatTensor<Self> {
                Self::packed_projection(x, codes, scales, layout, precision)
            }

            fn packed_squares(
                codes: IntTensor<Self>,
                scales: FloatTensor<Self>,
                layout: PackedLayout,
            ) -> FloatTensor<Self> {
                Self::packed_row_squares(codes, scales, layout)
            }

            fn packed_values(
                codes: IntTensor<Self>,
                scales: FloatTensor<Self>,
                layout: PackedLayout,
            ) -> FloatTensor<Self> {
                Self::packed_unpacked(codes, scales, layout)
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
