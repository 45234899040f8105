//! The table of tolerances: how far a result may be from what is expected. The self-test and the test suites share it.
//!
//! It is public for the test suites of this repository, without a promise of stability.

/// The largest error that counts as rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Bound on the error, relative to the largest magnitude of the expected array.
    pub relative: f64,
    /// Absolute error that is always accepted, for arrays that are zero in exact arithmetic.
    pub absolute: f64,
}

const fn tolerance(relative: f64, absolute: f64) -> Tolerance {
    Tolerance { relative, absolute }
}

/// Nothing may differ.
pub const EXACT: Tolerance = tolerance(0.0, 0.0);
/// A sum of f64 in another order.
pub const F64: Tolerance = tolerance(0.0, 1e-12);
/// The same computation, with its result written as text.
pub const SAME: Tolerance = tolerance(0.0, 1e-9);
/// Single precision against a double-precision reference.
pub const F32: Tolerance = tolerance(1e-5, 1e-7);
/// As [`F32`], with logits of the order 1e4, which f32 resolves to 1e-3.
pub const F32_LARGE: Tolerance = tolerance(1e-5, 2e-3);
/// As [`F32`], for entropies and divergences: their terms are of the order 1 and may cancel.
pub const F32_CANCELLING: Tolerance = tolerance(1e-5, 2e-5);
/// Single precision against single precision in another order: of samples in a forward pass, or of terms in a sum.
pub const REORDERED: Tolerance = tolerance(2e-5, 1e-8);
/// Gradients of a random model are sums of terms that almost cancel, so the order matters more than for the loss: 3e-5
/// was seen. A thousand random batches stay within this bound; a wrong denominator is off by 0.1.
pub const REORDERED_GRADIENT: Tolerance = tolerance(1e-4, 1e-8);
/// Weights of samples: a score, with its rounding error, is divided by the standard deviation of the batch, which is
/// 0.1 or less.
pub const REORDERED_WEIGHT: Tolerance = tolerance(1e-4, 1e-6);
/// A likelihood with a few hundred terms of the order 1, and its gradients, summed in two different ways.
pub const LIKELIHOOD: Tolerance = tolerance(3e-6, 3e-6);
/// The mean NLL of a data set with the same weights, in other forward passes or with a separate adapter.
pub const NLL: Tolerance = tolerance(0.0, 1e-6);
/// As [`NLL`], for a model with an adapter as trained, against the same model saved and merged.
pub const NLL_SAVED: Tolerance = tolerance(1e-5, 0.0);
/// Ten optimizer steps: the rounding errors of f32 pass through ten updates, each divided by the root of a second
/// moment.
pub const TEN_STEPS: Tolerance = tolerance(2e-5, 2e-6);
/// Two f32 implementations drift apart during training; each value is compared by itself.
pub const RUN: Tolerance = tolerance(1e-4, 1e-7);
/// As [`RUN`], for the forty steps of the reference curve.
pub const CURVE: Tolerance = tolerance(2e-4, 2e-7);
/// Logits of a published checkpoint: f32 sums through all of its layers.
pub const CHECKPOINT_LOGITS: Tolerance = tolerance(0.0, 2e-3);
/// Logits of a published checkpoint with a separate adapter, against those with the adapter merged into the weights.
pub const MERGED_LOGITS: Tolerance = tolerance(1e-4, 0.0);
/// Products of bf16 factors against the same sums in another order. A factor halfway between two bf16 numbers may be
/// rounded to either, which are 2⁻⁸ apart, and later layers amplify the difference.
pub const BF16: Tolerance = tolerance(5e-3, 1e-5);
/// Products of bf16 factors against f32 products: a relative error of 2⁻⁸ for each rounding, and several roundings in
/// sequence.
pub const BF16_FOR_F32: Tolerance = tolerance(5e-2, 5e-4);
/// One product in TF32, which keeps ten mantissa bits of each factor.
pub const TF32_PRODUCT: Tolerance = tolerance(5e-3, 5e-5);
/// The counterpart of [`F32`] for several TF32 products in sequence.
pub const TF32: Tolerance = tolerance(1e-2, 1e-4);

impl Tolerance {
    /// The magnitude of an expected array below which the absolute bound is the larger one.
    #[must_use]
    pub fn floor(self) -> f64 {
        if self.relative > 0.0 {
            self.absolute / self.relative
        } else {
            1.0
        }
    }

    /// Asserts that two arrays agree. The panic message names the array and the worst element.
    ///
    /// # Panics
    /// If they do not agree.
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

    /// As [`Tolerance::assert_close`], for one number.
    ///
    /// # Panics
    /// If they do not agree.
    #[track_caller]
    pub fn assert_near(self, name: &str, found: f64, expected: f64) {
        self.assert_close(name, &[found], &[expected]);
    }
}
