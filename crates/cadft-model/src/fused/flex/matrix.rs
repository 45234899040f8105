//! Matrix views and their product.

use super::{Float, floats};
use burn::backend::TensorMetadata;

/// A matrix as GEMM sees it: every element that its strides reach lies within `data`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a view must cover its data");
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// A contiguous tensor of two dimensions.
    pub(super) fn of(tensor: &'a Float) -> Self {
        let [rows, columns] = tensor.shape().dims::<2>();
        Self::new(floats(tensor), rows, columns)
    }

    pub(super) fn transpose(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }
}

/// Whether a product replaces the output or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Set,
    Add,
}

/// Where a product runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// On all threads of rayon.
    All,
    /// On this one.
    One,
}

/// `out = a · b` or `out += a · b`, `out` row-major.
pub(super) fn gemm(out: &mut [f32], a: View<'_>, b: View<'_>, write: Write, threads: Threads) {
    assert_eq!(a.columns, b.rows, "inner dimensions must agree");
    assert_eq!(
        out.len(),
        a.rows * b.columns,
        "the output must have the product's shape"
    );
    let parallelism = match threads {
        Threads::All => gemm::Parallelism::Rayon(0),
        Threads::One => gemm::Parallelism::None,
    };
    // SAFETY: a `View` covers its slice exactly (`View::new`) and transposing keeps the covered range; `out` has
    // `a.rows × b.columns` elements and, being borrowed mutably, overlaps neither input.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
