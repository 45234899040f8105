//! Counts and normalisation: the only code of the loss that divides by a count.
//!
//! Each optimizer step has one global denominator, counted over the global batch before the first backward pass. It is
//! never a mean of micro-batch means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The divisor of the sum in OBJ-1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// `Σ_i w_i Σ_t … / Σ_i |y_i|`, as in the DFT code and TRL. The default, because CADFT says that it follows the
    /// DFT recipe unchanged.
    #[default]
    TokenMean,
    /// `(1/|B|) Σ_i (w_i/|y_i|) Σ_t …`: the reading of CADFT-4 that matches the mean of CADFT-1.
    SampleMean,
    /// `(1/|B|) Σ_i w_i Σ_t …`: CADFT-4 with the sum over a sample's tokens.
    SampleSum,
}

/// Size of a global batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalCounts {
    /// Samples, `|B|`.
    pub samples: usize,
    /// Supervised tokens, `Σ_i |y_i|`.
    pub supervised: usize,
}

impl GlobalCounts {
    /// Counts the samples, given the number of supervised tokens of each.
    #[must_use]
    pub fn of(supervised: impl IntoIterator<Item = usize>) -> Self {
        supervised
            .into_iter()
            .fold(Self::default(), |counts, tokens| Self {
                samples: counts.samples + 1,
                supervised: counts.supervised + tokens,
            })
    }

    /// The factor of every token of a sample with weight 1 and `sample_tokens` supervised tokens.
    ///
    /// # Panics
    /// If the batch or the sample is empty.
    ///
    /// # Examples
    /// ```
    /// use cadft_core::{GlobalCounts, Normalisation};
    ///
    /// let counts = GlobalCounts::of([2, 3, 5]); // three samples, ten tokens
    /// assert_eq!(counts.sample_factor(Normalisation::TokenMean, 3), 0.1);
    /// assert_eq!(counts.sample_factor(Normalisation::SampleSum, 3), 1.0 / 3.0);
    /// ```
    ///
    /// # Examples
    /// ```
    /// use cadft_core::{GlobalCounts, Normalisation};
    ///
    /// let counts = GlobalCounts::of([2, 3, 5]); // three samples, ten tokens
    /// assert_eq!(counts.sample_factor(Normalisation::TokenMean, 3), 0.1);
    /// assert_eq!(counts.sample_factor(Normalisation::SampleSum, 3), 1.0 / 3.0);
    /// ```
    #[must_use]
    pub fn sample_factor(&self, normalisation: Normalisation, sample_tokens: usize) -> f64 {
        assert!(
            self.supervised > 0 && sample_tokens > 0,
            "an empty sample has no loss"
        );
        match normalisation {
            Normalisation::TokenMean => 1.0 / self.supervised as f64,
            Normalisation::SampleMean => 1.0 / (self.samples as f64 * sample_tokens as f64),
            Normalisation::SampleSum => 1.0 / self.samples as f64,
        }
    }
}

/// CADFT-1 for every sample: the mean negative log-likelihood of its supervised tokens, in nats.
///
/// `log_probs` and `sample_of` have one entry for each token; the result has one score for each of `samples`.
///
/// # Panics
/// If a sample index is out of range.
#[must_use]
pub fn sample_scores(log_probs: &[f32], sample_of: &[usize], samples: usize) -> Vec<f64> {
    let mut sums = vec![(0.0f64, 0usize); samples];
    for (&log_prob, &sample) in log_probs.iter().zip(sample_of) {
        sums[sample].0 -= f64::from(log_prob);
        sums[sample].1 += 1;
    }
    sums.into_iter()
        .map(|(sum, count)| if count > 0 { sum / count as f64 } else { 0.0 })
        .collect()
}

/// The mean of the values of each sample's tokens; 0 of a sample without any. As [`sample_scores`].
///
/// # Panics
/// If a sample index is out of range.
#[must_use]
pub fn sample_means(values: &[f32], sample_of: &[usize], samples: usize) -> Vec<f64> {
    let mut sums = vec![(0.0f64, 0usize); samples];
    for (&value, &sample) in values.iter().zip(sample_of) {
        sums[sample].0 += f64::from(value);
        sums[sample].1 += 1;
    }
    sums.into_iter().map(|(sum, count)| mean(sum, count)).collect()
}

/// The lower median of scores; 1 if there are none.
#[must_use]
pub fn median_score(scores: &[f64]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(1.0)
}

/// The least of the largest `⌈share · n⌉` of `n` values, at least one of them; that of none is −∞.
#[must_use]
pub fn least_of_largest(values: &[f32], share: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, at most the length"
    )]
    let count = (share * values.len() as f64).ceil() as usize;
    let last = count.clamp(1, values.len().max(1)) - 1;
    sorted.get(last).copied().unwrap_or(f32::NEG_INFINITY)
}

/// The mean, from a sum and its count; 0 if the count is 0.
#[must_use]
pub fn mean(sum: f64, count: usize) -> f64 {
    if count > 0 { sum / count as f64 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_score_whatever_their_order() {
        assert_eq!(median_score(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_score(&[4.0, 3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_score(&[0.5]), 0.5);
        assert_eq!(median_score(&[]), 1.0);
    }

    #[test]
    fn the_least_of_the_largest_is_one_of_them() {
        let values = [0.5, -1.0, 2.0, 0.0, 1.0];
        assert_eq!(least_of_largest(&values, 0.6), 0.5);
        assert_eq!(least_of_largest(&values, 0.61), 0.0);
        assert_eq!(least_of_largest(&values, 1.0), -1.0);
        assert_eq!(least_of_largest(&values, 0.001), 2.0);
        assert_eq!(least_of_largest(&[], 0.5), f32::NEG_INFINITY);
    }

    #[test]
    fn each_normalisation_divides_by_its_own_denominator() {
        let counts = GlobalCounts::of([2, 3, 5]);
        assert_eq!(
            counts,
            GlobalCounts {
                samples: 3,
                supervised: 10
            }
        );
        assert_eq!(counts.sample_factor(Normalisation::TokenMean, 3), 0.1);
        assert_eq!(counts.sample_factor(Normalisation::SampleMean, 3), 1.0 / 9.0);
        assert_eq!(counts.sample_factor(Normalisation::SampleSum, 3), 1.0 / 3.0);
    }

    #[test]
    fn means_are_over_each_samples_tokens() {
        assert_eq!(sample_means(&[1.0, 2.0, 3.0], &[0, 1, 0], 3), [2.0, 2.0, 0.0]);
    }

    #[test]
    fn scores_are_means_over_each_samples_tokens() {
        let scores = sample_scores(&[-1.0, -2.0, -3.0, -4.0], &[0, 1, 0, 1], 2);
        assert_eq!(scores, [2.0, 3.0]);
    }
}
