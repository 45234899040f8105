//! Matrix views and their product.

/// A matrix as GEMM sees it: every element that its strides reach lies within `data`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If the data has not `rows * columns` elements.
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a view must cover its data");
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// Rows `start..end` of a matrix that is not transposed.
    ///
    /// # Panics
    /// If the matrix has fewer rows, or is transposed: then rows do not lie together.
    #[must_use]
    pub fn row_range(self, start: usize, end: usize) -> Self {
        assert_eq!(
            self.column_stride, 1,
            "rows of a transposed matrix do not lie together"
        );
        Self::new(
            &self.data[start * self.columns..end * self.columns],
            end - start,
            self.columns,
        )
    }

    /// Rows as columns.
    #[must_use]
    pub fn transpose(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns there are.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Whether a product replaces the output or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Whatever was there is gone.
    Set,
    /// The product is added.
    Add,
}

/// Where a product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// On all threads of rayon.
    All,
    /// On this one.
    One,
}

/// `out = a · b` or `out += a · b`, `out` row-major.
///
/// # Panics
/// If the inner dimensions differ, or `out` has another number of elements than the product.
pub fn gemm(out: &mut [f32], a: View<'_>, b: View<'_>, write: Write, threads: Threads) {
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
