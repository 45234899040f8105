//! Standardised scores: how far a sample's score lies from the mean of its global batch.

use super::Moments;

/// `ε` of CADFT-2.
pub const EPSILON: f64 = 1e-6;

/// Mean and deviation against which scores are standardised.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standardiser {
    /// `μ_B`, nats a token.
    pub mean: f64,
    /// `σ_B`, nats a token; if it is 0, every z-score is 0.
    pub std: f64,
}

impl Standardiser {
    /// CADFT-2: `ĉ = (c − μ)/(σ + ε)`; 0 if `σ = 0`, as in a batch of one sample.
    #[must_use]
    pub fn z(&self, score: f64) -> f64 {
        if self.std == 0.0 {
            0.0
        } else {
            (score - self.mean) / (self.std + EPSILON)
        }
    }

    /// The largest z-score possible in a batch of `samples`, `√(n−1)`: one sample differs, all others are equal.
    ///
    /// The bound holds for the population deviation; with the sample estimate it is `(n−1)/√n`.
    #[must_use]
    pub fn largest_z(samples: usize) -> f64 {
        (samples.max(1) as f64 - 1.0).sqrt()
    }
}

impl From<&Moments> for Standardiser {
    fn from(moments: &Moments) -> Self {
        Self {
            mean: moments.mean(),
            std: moments.std(),
        }
    }
}

/// The statistics of these scores.
impl FromIterator<f64> for Standardiser {
    fn from_iter<I: IntoIterator<Item = f64>>(scores: I) -> Self {
        Self::from(&scores.into_iter().collect::<Moments>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_of_one_has_z_0() {
        let moments: Moments = [7.0].into_iter().collect();
        assert_eq!(Standardiser::from(&moments).z(7.0), 0.0);
    }

    #[test]
    fn equal_scores_have_z_0() {
        let moments: Moments = [0.1; 7].into_iter().collect();
        assert!(Standardiser::from(&moments).z(0.1).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn z_never_exceeds_its_bound(scores in prop::collection::vec(0.0f64..50.0, 2..40)) {
            let moments: Moments = scores.iter().copied().collect();
            let batch = Standardiser::from(&moments);
            for &score in &scores {
                prop_assert!(batch.z(score) <= Standardiser::largest_z(scores.len()) + 1e-9);
            }
        }
    }

    #[test]
    fn one_sample_unlike_all_others_reaches_the_bound() {
        for samples in [2, 4, 16, 256] {
            let mut scores = vec![1.0; samples];
            scores[0] = 5.0;
            let batch: Standardiser = scores.iter().copied().collect();
            assert!(
                (batch.z(5.0) / Standardiser::largest_z(samples) - 1.0).abs() < 1e-5,
                "{samples}"
            );
        }
    }
}
