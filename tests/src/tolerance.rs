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

/// Single precision against the same in another order: of samples in a forward pass, or of the terms of a sum.
pub const REORDERED: Tolerance = Tolerance {
    relative: 2e-5,
    absolute: 1e-8,
};

/// Gradients of a random model are sums of terms that almost cancel, so that another order weighs more than in the loss:
/// 3e-5 was seen. A thousand drawn batches stay within this bound; a wrong denominator is off by 0.1.
pub const REORDERED_GRADIENT: Tolerance = Tolerance {
    relative: 1e-4,
    absolute: 1e-8,
};

/// Weights of samples: a score is divided by the deviation of a batch, a tenth of it or less, and so is its rounding.
pub const REORDERED_WEIGHT: Tolerance = Tolerance {
    relative: 1e-4,
    absolute: 1e-6,
};

/// A likelihood, and its gradients, of a few hundred terms of the order of 1, by two ways of adding them up.
pub const LIKELIHOOD: Tolerance = Tolerance {
    relative: 3e-6,
    absolute: 3e-6,
};

/// After ten steps f32 rounding has been through ten updates, each divided by the root of a second moment.
pub const TEN_STEPS: Tolerance = Tolerance {
    relative: 2e-5,
    absolute: 2e-6,
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
