//! How incompatible a sample has been: a bias-corrected moving average in 24 bytes.

use serde::{Deserialize, Serialize};

/// Bias-corrected exponential moving average of a sample's standardised scores.
///
/// ```text
/// m ← d·m + (1−d)·ĉ,   n ← n + 1,   average = m/(1−dⁿ)
/// ```
///
/// Deviation: the paper does not say how persistence is measured. Ours averages `ĉ` (CADFT-2), not the raw score, so
/// that the average does not drift as the model improves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovingAverage {
    /// `m`, biased towards 0.
    biased: f64,
    /// The newest `ĉ`.
    last: f64,
    /// `n`.
    observations: u32,
    /// Number of rewrites of the sample; [`u32::MAX`] if it must not be rewritten.
    rewrites: u32,
}

impl MovingAverage {
    /// Adds one standardised score in constant time; a score that is not finite changes nothing.
    pub fn observe(&mut self, z: f64, decay: f64) {
        if !z.is_finite() {
            return;
        }
        self.biased = decay * self.biased + (1.0 - decay) * z;
        self.last = z;
        self.observations = self.observations.saturating_add(1);
    }

    /// The bias-corrected average; `None` before the first observation.
    #[must_use]
    pub fn average(&self, decay: f64) -> Option<f64> {
        let observed = i32::try_from(self.observations).unwrap_or(i32::MAX);
        (observed > 0).then(|| self.biased / (1.0 - decay.powi(observed)))
    }

    /// The newest standardised score; `None` before the first observation.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        (self.observations > 0).then_some(self.last)
    }

    /// Number of scores since the sample last changed.
    #[must_use]
    pub fn observations(&self) -> u32 {
        self.observations
    }

    /// Number of rewrites of the sample; [`u32::MAX`] if it must not be rewritten.
    #[must_use]
    pub fn rewrites(&self) -> u32 {
        self.rewrites
    }

    /// Counts a rewrite and starts again: the sample has a new target.
    pub(super) fn rewritten(&mut self) {
        *self = Self {
            rewrites: self.rewrites.saturating_add(1),
            ..Self::default()
        };
    }

    /// Excludes the sample from further rewrites: it has its original target again.
    pub(super) fn restored(&mut self) {
        *self = Self {
            rewrites: u32::MAX,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(scores: &[f64], decay: f64) -> MovingAverage {
        let mut average = MovingAverage::default();
        for &z in scores {
            average.observe(z, decay);
        }
        average
    }

    #[test]
    fn a_sample_takes_24_bytes() {
        assert_eq!(size_of::<MovingAverage>(), 24);
    }

    #[test]
    fn nothing_is_known_before_the_first_observation() {
        let average = MovingAverage::default();
        assert_eq!((average.average(0.9), average.last()), (None, None));
    }

    #[test]
    fn a_score_that_is_not_a_number_changes_nothing() {
        let mut average = of(&[1.0, 2.0], 0.9);
        let before = average;
        average.observe(f64::NAN, 0.9);
        average.observe(f64::INFINITY, 0.9);
        assert_eq!(average, before);
    }

    #[test]
    fn a_rewritten_sample_starts_again_and_remembers_how_often() {
        let mut average = of(&[3.0, 3.0], 0.9);
        average.rewritten();
        assert_eq!(
            (average.average(0.9), average.observations(), average.rewrites()),
            (None, 0, 1)
        );
    }

    proptest! {
        #[test]
        fn the_average_is_the_weighted_mean_by_definition(
            scores in prop::collection::vec(-5.0f64..5.0, 1..40), decay in 0.0f64..0.99,
        ) {
            let weight = |age: usize| decay.powi(i32::try_from(age).unwrap());
            let mass: f64 = (0..scores.len()).map(weight).sum();
            let sum: f64 = scores.iter().rev().enumerate().map(|(age, z)| weight(age) * z).sum();
            let average = of(&scores, decay).average(decay).unwrap();
            prop_assert!((average - sum / mass).abs() < 1e-9, "{average} against {}", sum / mass);
        }

        #[test]
        fn a_constant_score_is_its_own_average_from_the_start(z in -5.0f64..5.0, count in 1usize..200) {
            let average = of(&vec![z; count], 0.9).average(0.9).unwrap();
            prop_assert!((average - z).abs() < 1e-9);
        }
    }
}
