//! The table of tolerances.

/// Largest error of an array, relative to its largest element, or absolute where that is tiny.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Error over the largest magnitude of the expected array.
    pub relative: f64,
    /// Error below which a difference does not count, for arrays that are zero in exact arithmetic.
    pub absolute: f64,
}

/// Single precision against a double-precision reference.
pub const F32: Tolerance = Tolerance {
    relative: 1e-5,
    absolute: 1e-7,
};

/// Products of bf16 factors against the same summed in another order: a factor near the middle of two bf16 numbers is
/// rounded to one or the other, 2⁻⁸ of it apart, and the layers after it carry that on.
pub const BF16: Tolerance = Tolerance {
    relative: 5e-3,
    absolute: 1e-5,
};

impl Tolerance {
    /// Asserts that two arrays agree, naming the array and the worst element.
    ///
    /// # Panics
    /// If they do not.
    #[track_caller]
    pub fn assert_close(self, name: &str, found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{name}: number of elements");
        let scale = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
        let bound = (self.relative * scale).max(self.absolute);
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs();
            assert!(
                error <= bound,
                "{name}[{index}]: found {found:e}, expected {expected:e}; error {error:e} is above {bound:e}"
            );
        }
    }
}
