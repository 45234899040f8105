//! The moving averages of all samples of a data set.

use super::MovingAverage;
use serde::{Deserialize, Serialize};

/// Tracks the compatibility of every sample, by its position in the data set: 24 bytes a sample, and one update a
/// sample and step. It does not matter how samples are grouped into steps and micro-batches, or packed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracker {
    decay: f64,
    samples: Vec<MovingAverage>,
}

impl Tracker {
    /// A tracker of `samples` samples, none observed yet. `decay` is in `[0, 1)`; ours is 0.9.
    #[must_use]
    pub fn new(samples: usize, decay: f64) -> Self {
        Self {
            decay,
            samples: vec![MovingAverage::default(); samples],
        }
    }

    /// Adds the standardised score of a sample.
    ///
    /// # Panics
    /// If `sample >= self.len()`.
    pub fn observe(&mut self, sample: usize, z: f64) {
        self.samples[sample].observe(z, self.decay);
    }

    /// Number of tracked samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// `d` of the moving averages.
    #[must_use]
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// The state of a sample.
    ///
    /// # Panics
    /// If `sample >= self.len()`.
    #[must_use]
    pub fn sample(&self, sample: usize) -> &MovingAverage {
        &self.samples[sample]
    }

    /// The moving average of a sample; `None` before its first observation.
    ///
    /// # Panics
    /// If `sample >= self.len()`.
    #[must_use]
    pub fn average(&self, sample: usize) -> Option<f64> {
        self.samples[sample].average(self.decay)
    }

    /// Every sample's state, in the order of the data set.
    #[must_use]
    pub fn samples(&self) -> &[MovingAverage] {
        &self.samples
    }

    /// Records that a sample has a new target: its average starts again, and the rewrite is counted.
    ///
    /// # Panics
    /// If `sample >= self.len()`.
    pub fn rewritten(&mut self, sample: usize) {
        self.samples[sample].rewritten();
    }

    /// Records that a rewrite was undone: the average starts again, and the sample is not rewritten any more.
    ///
    /// # Panics
    /// If `sample >= self.len()`.
    pub fn restored(&mut self, sample: usize) {
        self.samples[sample].restored();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_between_samples_does_not_matter(
            scores in prop::collection::vec((0usize..5, -3.0f64..3.0), 0..60),
        ) {
            let mut mixed = Tracker::new(5, 0.9);
            scores.iter().for_each(|&(sample, z)| mixed.observe(sample, z));
            let mut by_sample = Tracker::new(5, 0.9);
            for one in 0..5 {
                scores.iter().filter(|(sample, _)| *sample == one).for_each(|&(sample, z)| by_sample.observe(sample, z));
            }
            prop_assert_eq!(mixed, by_sample);
        }

        #[test]
        fn a_saved_tracker_goes_on_with_the_same_bits(
            scores in prop::collection::vec((0usize..5, -3.0f64..3.0), 0..60), cut in 0usize..60,
        ) {
            let mut whole = Tracker::new(5, 0.9);
            scores.iter().for_each(|&(sample, z)| whole.observe(sample, z));
            let (before, after) = scores.split_at(cut.min(scores.len()));
            let mut saved = Tracker::new(5, 0.9);
            before.iter().for_each(|&(sample, z)| saved.observe(sample, z));
            let mut resumed: Tracker = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
            after.iter().for_each(|&(sample, z)| resumed.observe(sample, z));
            for (a, b) in whole.samples().iter().zip(resumed.samples()) {
                prop_assert_eq!(a.average(0.9).map(f64::to_bits), b.average(0.9).map(f64::to_bits));
            }
        }
    }
}
