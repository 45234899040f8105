//! Which samples a round considers, and the random numbers of their rewriting.

use super::Tracker;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The rule of a round: it considers the samples with the highest moving averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// Share of the data set that one round may consider; the paper's: about 0.005.
    pub fraction: f64,
    /// Fewest observations of a sample since it last changed. Ours: 2.
    pub min_observations: u32,
    /// Most rewrites of one sample. Ours: 1.
    pub max_per_sample: u32,
}

impl Selection {
    /// Most samples that a round may consider, of `samples`: rounded to the nearest number, at least 1.
    #[must_use]
    pub fn most(&self, samples: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let most = (self.fraction * samples as f64).round() as usize;
        most.clamp(samples.min(1), samples)
    }

    /// The samples of a round, the most incompatible first. If averages are equal, the order of the data decides.
    ///
    /// A sample qualifies if it has at least `min_observations` observations and fewer than `max_per_sample` rewrites,
    /// and if both its moving average and its newest `ĉ` are above 0. Ours: a sample at or below the mean score of its
    /// batch has weight 1, so nothing has to be repaired. A sample that has become compatible is left alone, whatever
    /// its average is.
    #[must_use]
    pub fn choose(&self, tracker: &Tracker) -> Vec<usize> {
        let mut chosen: Vec<(usize, f64)> = (0..tracker.len())
            .filter_map(|sample| Some((sample, self.persistence(tracker, sample)?)))
            .collect();
        chosen.sort_unstable_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
        chosen.truncate(self.most(tracker.len()));
        chosen.into_iter().map(|(sample, _)| sample).collect()
    }

    /// The moving average of a sample; `None` if the sample does not qualify.
    fn persistence(&self, tracker: &Tracker, sample: usize) -> Option<f64> {
        let state = tracker.sample(sample);
        let average = tracker.average(sample)?;
        let qualifies = state.observations() >= self.min_observations
            && state.rewrites() < self.max_per_sample
            && average > 0.0
            && state.last()? > 0.0;
        qualifies.then_some(average)
    }
}

/// A number in `[0, 1)` for one sample in one round. The sample is drawn if the number is below `ρ`.
///
/// It depends on the arguments alone, not on other samples and not on earlier draws.
#[must_use]
pub fn chance(seed: u64, step: usize, sample: usize) -> f64 {
    let word = stream(seed, step, sample, 0).next_u64();
    // The 53 highest bits: an f64 represents them exactly.
    (word >> 11) as f64 / (1u64 << 53) as f64
}

/// The seed for generating the candidates of one round. Each sample gets a separate random stream.
#[must_use]
pub fn round_seed(seed: u64, step: usize) -> u64 {
    stream(seed, step, 0, 1).next_u64()
}

/// A ChaCha8 generator whose key is the little-endian bytes of the arguments.
fn stream(seed: u64, step: usize, sample: usize, purpose: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key
        .chunks_exact_mut(8)
        .zip([seed, step as u64, sample as u64, purpose])
    {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAPER: Selection = Selection {
        fraction: 0.005,
        min_observations: 2,
        max_per_sample: 1,
    };

    /// A tracker that has observed the scores of each sample in order.
    fn tracker(scores: &[&[f64]]) -> Tracker {
        let mut tracker = Tracker::new(scores.len(), 0.9);
        for (sample, scores) in scores.iter().enumerate() {
            scores.iter().for_each(|&z| tracker.observe(sample, z));
        }
        tracker
    }

    fn share(fraction: f64) -> Selection {
        Selection { fraction, ..PAPER }
    }

    #[test]
    fn the_most_incompatible_come_first_and_ties_go_by_position() {
        let tracker = tracker(&[&[1.0, 1.0], &[3.0, 3.0], &[1.0, 1.0], &[2.0, 2.0], &[-1.0, -1.0]]);
        assert_eq!(share(1.0).choose(&tracker), [1, 3, 0, 2]);
        assert_eq!(share(0.6).choose(&tracker), [1, 3, 0]);
    }

    #[test]
    fn a_sample_must_have_been_seen_often_enough() {
        let tracker = tracker(&[&[9.0], &[1.0, 1.0], &[]]);
        assert_eq!(share(1.0).choose(&tracker), [1]);
    }

    #[test]
    fn a_sample_that_becomes_compatible_is_not_chosen() {
        // The moving average is still far above 0, but the newest score is not.
        let tracker = tracker(&[&[5.0, 5.0, 5.0, -0.1], &[0.5, 0.5, 0.5, 0.5]]);
        assert!(tracker.average(0).unwrap() > tracker.average(1).unwrap());
        assert_eq!(share(1.0).choose(&tracker), [1]);
    }

    #[test]
    fn a_sample_is_rewritten_as_often_as_allowed_and_never_after_an_undo() {
        let mut tracker = tracker(&[&[2.0, 2.0], &[1.0, 1.0]]);
        let twice = Selection {
            max_per_sample: 2,
            ..share(1.0)
        };
        for (selection, expected) in [(share(1.0), vec![1]), (twice, vec![0, 1])] {
            tracker.rewritten(0);
            tracker.observe(0, 2.0);
            tracker.observe(0, 2.0);
            assert_eq!(selection.choose(&tracker), expected, "{selection:?}");
            tracker = self::tracker(&[&[2.0, 2.0], &[1.0, 1.0]]);
        }
        tracker.restored(0);
        tracker.observe(0, 2.0);
        tracker.observe(0, 2.0);
        assert_eq!(twice.choose(&tracker), [1]);
    }

    #[test]
    fn a_round_looks_at_its_share_and_at_one_at_least() {
        for (samples, expected) in [(0, 0), (1, 1), (60, 1), (3000, 15), (100_000, 500)] {
            assert_eq!(PAPER.most(samples), expected, "{samples} samples");
        }
    }

    #[test]
    fn the_draws_have_the_probability_asked_for() {
        for probability in [0.1, 0.5, 0.9] {
            let draws = 20_000;
            let drawn = (0..draws)
                .filter(|&sample| chance(42, 3000, sample) < probability)
                .count();
            let expected = probability * draws as f64;
            // Five standard deviations.
            let bound = 5.0 * (expected * (1.0 - probability)).sqrt();
            assert!(
                (drawn as f64 - expected).abs() < bound,
                "{probability}: {drawn} of {draws}"
            );
        }
        assert!(
            (0..1000).all(|sample| chance(1, 2, sample) < 1.0),
            "ρ = 1 draws every sample"
        );
    }

    #[test]
    fn seed_step_and_sample_each_change_the_draw() {
        let first = chance(42, 10, 7);
        assert_eq!(first, chance(42, 10, 7));
        for other in [chance(43, 10, 7), chance(42, 11, 7), chance(42, 10, 8)] {
            assert_ne!(first, other);
        }
        assert_ne!(round_seed(42, 10), round_seed(42, 11));
        assert_ne!(round_seed(42, 10), round_seed(43, 10));
    }

    proptest! {
        #[test]
        fn what_is_chosen_qualifies_and_what_is_left_is_no_worse(
            scores in prop::collection::vec(prop::collection::vec(-3.0f64..3.0, 0..5), 1..40),
            fraction in 0.0f64..1.0,
        ) {
            let scores: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
            let tracker = tracker(&scores);
            let selection = share(fraction);
            let chosen = selection.choose(&tracker);
            prop_assert!(chosen.len() <= selection.most(tracker.len()));
            for &sample in &chosen {
                prop_assert!(scores[sample].len() >= 2 && scores[sample].last().unwrap() > &0.0);
                prop_assert!(tracker.average(sample).unwrap() > 0.0);
            }
            let lowest = chosen.last().and_then(|&sample| tracker.average(sample));
            let qualified = (0..scores.len()).filter(|&sample| selection.persistence(&tracker, sample).is_some());
            for sample in qualified.filter(|sample| !chosen.contains(sample)) {
                prop_assert!(tracker.average(sample) <= lowest);
            }
        }
    }
}
