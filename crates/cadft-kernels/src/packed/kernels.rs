//! The products of a packed matrix on a plain backend; backends may override them.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::{DType, Shape};

use super::format::PackedLayout;
use super::portable;
use crate::products::{MatmulKernels, Precision};

/// The products on a plain (not differentiated) backend. Under fusion each is one operation.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub(crate) trait PackedKernels: Backend + MatmulKernels {
    /// `x Wᵀ` in f32, `[rows, output]`.
    #[fusion(meta = |x, _, _, layout, _| matrix(x.shape[0], layout.shape[0]))]
    fn packed_projection(
        x: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let weight = portable::values::<Self>(&codes, &scales, layout);
        portable::projection::<Self>(x, weight, precision)
    }

    /// `g W` in f32, `[rows, input]`.
    #[fusion(meta = |grad, _, _, layout, _| matrix(grad.shape[0], layout.shape[1]))]
    fn packed_input_gradient(
        grad: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let weight = portable::values::<Self>(&codes, &scales, layout);
        portable::input_gradient::<Self>(grad, weight, precision)
    }

    /// The sums of the squares of the rows, `[output]`.
    #[fusion(meta = |_, _, layout| TensorSpec::new(Shape::new([layout.shape[0]]), DType::F32))]
    fn packed_row_squares(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        portable::squares::<Self>(portable::values::<Self>(&codes, &scales, layout))
    }

    /// The matrix in f32, `[output, input]`.
    #[fusion(meta = |_, _, layout| matrix(layout.shape[0], layout.shape[1]))]
    fn packed_unpacked(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        portable::values::<Self>(&codes, &scales, layout)
    }
}

#[cfg(feature = "ndarray")]
impl PackedKernels for NdArray {}

#[cfg(feature = "cube")]
impl PackedKernels for burn_cubecl::CubeBackend {}

#[cfg(feature = "fusion")]
fn matrix(rows: usize, columns: usize) -> TensorSpec {
    TensorSpec::new(Shape::new([rows, columns]), DType::F32)
}
