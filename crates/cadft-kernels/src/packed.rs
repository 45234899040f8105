//! Frozen weights in fewer bits, and their products, which unpack a part of the weight at a time.
//!
//! ```text
//! bf16   w = bf16(w)                                            16 bits a weight
//! int8   w = q · m / 127,  q in −127..=127, one m a row          8 bits
//! nf4    w = NF4[q] · a,  one a for 64 weights                   4 bits, and 1/8 for a
//!        a = MAP[p] · m + μ,  one m for 256 values of a, one μ
//!
//! y = x Wᵀ          ∂x = ∂y W
//! ```
//!
//! The last two are those of bitsandbytes: the rows of `Linear8bitLt` without its path for outliers, and `QLoRA`'s
//! 4-bit `NormalFloat` with double quantisation (Dettmers et al. 2022, arXiv 2208.07339; 2023, arXiv 2305.14314). The
//! weight has no gradient.

mod autodiff;
mod code;
#[cfg(feature = "flex")]
mod flex;
mod format;
mod kernels;
mod operations;
mod pack;
mod portable;
#[cfg(all(test, feature = "flex"))]
mod tests;
#[cfg(feature = "flex")]
mod unpack;

use burn::backend::Dispatch;
use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::products::Precision;
pub use format::PackedFormat;
use format::PackedLayout;
use operations::PackedOperations;

/// A constant matrix in a packed format. As a part of a module it moves between devices, and has no parameters.
#[derive(Module, Debug)]
pub struct Packed {
    /// The codes, several in each word of 32 bits, and for NF4 those of the scales after them. `[words]`.
    codes: Tensor<1, Int>,
    /// The scales in f32. `[scales]`.
    scales: Tensor<1>,
    #[module(skip)]
    layout: PackedLayout,
}

impl Packed {
    /// Packs the values of a matrix.
    ///
    /// # Shapes
    /// - `values`: the rows of `[output, input]`, one after the other
    ///
    /// # Panics
    /// If `values` does not have `output * input` elements.
    #[must_use]
    pub fn new(values: &[f32], shape: [usize; 2], format: PackedFormat, device: &Device) -> Self {
        let [output, input] = shape;
        assert_eq!(values.len(), output * input, "a matrix must have its elements");
        let layout = PackedLayout { format, shape };
        let pack::Stored { codes, scales } = pack::pack(values, layout);
        let (words, count) = (codes.len(), scales.len());
        Self {
            codes: Tensor::from_data(TensorData::new(codes, [words]), (device, DType::I32)),
            scales: Tensor::from_data(TensorData::new(scales, [count]), (device, DType::F32)),
            layout,
        }
    }

    /// `[output, input]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.layout.shape
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> PackedFormat {
        self.layout.format
    }

    /// Where the matrix is.
    #[must_use]
    pub fn device(&self) -> Device {
        self.codes.device()
    }

    /// `x Wᵀ` in f32; with factors rounded to bf16, if that is the `precision`.
    ///
    /// # Shapes
    /// - `x`: `[rows, input]`; f32, or bf16 if that is the `precision`
    /// - output: `[rows, output]`
    #[must_use]
    pub fn project(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        Tensor::from_dispatch(Dispatch::packed_linear(
            x.into_dispatch(),
            self.codes.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
            self.layout,
            precision,
        ))
    }

    /// The sums of the squares of the rows, `[output]`.
    #[must_use]
    pub fn row_squares(&self) -> Tensor<1> {
        Tensor::from_dispatch(Dispatch::packed_squares(
            self.codes.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
            self.layout,
        ))
    }

    /// The matrix in f32, `[output, input]`.
    #[must_use]
    pub fn unpacked(&self) -> Tensor<2> {
        Tensor::from_dispatch(Dispatch::packed_values(
            self.codes.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
            self.layout,
        ))
    }
}
