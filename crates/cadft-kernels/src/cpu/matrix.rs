//! Matrix views and their product.

/// A matrix view for GEMM. Every element that its strides reach lies within `data`.
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
    /// If `data` does not have `rows * columns` elements.
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        let size = rows.checked_mul(columns);
        assert_eq!(Some(data.len()), size, "a view must cover its data");
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
    /// If the matrix has fewer than `end` rows, or is transposed or a part of the columns of another: its rows are then
    /// not contiguous.
    #[must_use]
    pub fn row_range(self, start: usize, end: usize) -> Self {
        assert_eq!(
            (self.column_stride, self.row_stride),
            (1, self.columns),
            "rows of a transposed matrix, or of a part of the columns, do not lie together"
        );
        Self::new(
            &self.data[start * self.columns..end * self.columns],
            end - start,
            self.columns,
        )
    }

    /// Columns `start..end`, without copying.
    ///
    /// # Panics
    /// If `start` is after `end`, or the matrix has fewer than `end` columns.
    #[must_use]
    pub fn column_range(self, start: usize, end: usize) -> Self {
        assert!(
            start <= end && end <= self.columns,
            "a matrix must have its columns"
        );
        let first = (start * self.column_stride).min(self.data.len());
        Self {
            data: &self.data[first..],
            columns: end - start,
            ..self
        }
    }

    /// The transpose, without copying.
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

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Whether a product replaces the output or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The product replaces the output.
    Set,
    /// The product is added to the output.
    Add,
}

/// On how many threads a product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// On all threads of rayon.
    All,
    /// On the calling thread.
    One,
}

/// `out = a · b` or `out += a · b`; `out` is row-major.
///
/// # Panics
/// If the inner dimensions differ, or if `out` does not have `a.rows() * b.columns()` elements.
pub fn gemm(out: &mut [f32], a: View<'_>, b: View<'_>, write: Write, threads: Threads) {
    let size = a.rows.checked_mul(b.columns);
    assert_eq!(Some(out.len()), size, "the output must have the product's shape");
    // SAFETY: `out` has `a.rows × b.columns` elements and, being borrowed mutably, overlaps neither input.
    unsafe { multiply(out.as_mut_ptr(), a, b, write, threads) }
}

/// `a · b`, row-major, `[a.rows * b.columns]`.
///
/// # Panics
/// If the inner dimensions differ.
#[must_use]
pub fn product(a: View<'_>, b: View<'_>, threads: Threads) -> Vec<f32> {
    let length = a.rows * b.columns;
    if a.columns == 0 {
        return vec![0.0; length];
    }
    let mut out = Vec::with_capacity(length);
    // SAFETY: `out` has room for `length` elements and overlaps neither input. `Write::Set` with an inner dimension that is not
    // 0 writes every element, and reads none.
    unsafe {
        multiply(out.as_mut_ptr(), a, b, Write::Set, threads);
        out.set_len(length);
    }
    out
}

/// Writes `a · b` to `out`, or adds it.
///
/// # Safety
/// `out` must be valid for `a.rows × b.columns` elements and overlap neither input. For [`Write::Add`] they must be initialised.
unsafe fn multiply(out: *mut f32, a: View<'_>, b: View<'_>, write: Write, threads: Threads) {
    assert_eq!(a.columns, b.rows, "inner dimensions must agree");
    let parallelism = match threads {
        Threads::All => gemm::Parallelism::Rayon(0),
        Threads::One => gemm::Parallelism::None,
    };
    // SAFETY: a `View` covers its slice exactly (`View::new`), transposing keeps the covered range, and fewer columns stay
    // within it; the caller vouches for `out`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a view must cover its data")]
    fn a_size_that_overflows_is_not_the_size_of_the_data() {
        let half = 1 << (usize::BITS / 2);
        let _ = View::new(&[], half, half);
    }
}
