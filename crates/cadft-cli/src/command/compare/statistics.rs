//! Means over runs, and differences of pairs of runs with the same seed.
//!
//! ```text
//! interval     the 2.5 % and 97.5 % quantiles of the means of pairs that are drawn with replacement (Efron and Tibshirani 1993)
//! detectable   (t_{0.975, n−1} + t_{0.8, n−1}) · s/√n: the difference that n pairs with deviation s would have shown at the level
//!              of 5 % with a probability of 80 %
//! ```

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Serialize;

/// How often pairs are drawn.
pub(super) const RESAMPLES: usize = 10_000;
/// What they are drawn from: the same pairs give the same interval.
const SEED: u64 = 0;

/// A mean over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    /// Sample deviation over √runs; absent for a single run.
    pub(super) standard_error: Option<f64>,
}

impl Estimate {
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mean = mean(values)?;
        Some(Self {
            mean,
            standard_error: deviation(values).map(|s| s / (values.len() as f64).sqrt()),
        })
    }

    pub(super) fn text(self, show: impl Fn(f64) -> String) -> String {
        match self.standard_error {
            Some(error) => format!("{} ± {}", show(self.mean), show(error)),
            None => show(self.mean),
        }
    }
}

/// How much one objective differs from another, over pairs of runs with the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Difference {
    /// Pairs of runs that both came to their end.
    pub(super) pairs: usize,
    pub(super) mean: f64,
    /// 95 % by bootstrap; absent for a single pair. With few pairs it is too narrow.
    pub(super) interval: Option<[f64; 2]>,
    /// What these pairs would have shown.
    pub(super) detectable: Option<f64>,
}

impl Difference {
    /// Of each pair, the value under the objective less that under the other.
    pub(super) fn of(differences: &[f64]) -> Option<Self> {
        let mean = mean(differences)?;
        let pairs = differences.len();
        Some(Self {
            pairs,
            mean,
            interval: (pairs > 1).then(|| interval(differences)),
            detectable: deviation(differences).map(|s| {
                let [level, power] = quantiles(pairs - 1);
                (level + power) * s / (pairs as f64).sqrt()
            }),
        })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample's standard deviation; none of a single value.
fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() as f64 - 1.0)).sqrt())
}

fn interval(values: &[f64]) -> [f64; 2] {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let count = values.len();
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sum: f64 = (0..count).map(|_| values[random.random_range(0..count)]).sum();
            sum / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|share| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in the list"
        )]
        let place = (share * (RESAMPLES - 1) as f64).round() as usize;
        means[place]
    })
}

/// Quantiles of Student's t at 0.975 and 0.8, for 1 to 30 degrees of freedom; beyond, those of the normal distribution.
fn quantiles(freedom: usize) -> [f64; 2] {
    const T: [[f64; 2]; 30] = [
        [12.706, 1.376],
        [4.303, 1.061],
        [3.182, 0.978],
        [2.776, 0.941],
        [2.571, 0.920],
        [2.447, 0.906],
        [2.365, 0.896],
        [2.306, 0.889],
        [2.262, 0.883],
        [2.228, 0.879],
        [2.201, 0.876],
        [2.179, 0.873],
        [2.160, 0.870],
        [2.145, 0.868],
        [2.131, 0.866],
        [2.120, 0.865],
        [2.110, 0.863],
        [2.101, 0.862],
        [2.093, 0.861],
        [2.086, 0.860],
        [2.080, 0.859],
        [2.074, 0.858],
        [2.069, 0.858],
        [2.064, 0.857],
        [2.060, 0.856],
        [2.056, 0.856],
        [2.052, 0.855],
        [2.048, 0.855],
        [2.045, 0.854],
        [2.042, 0.854],
    ];
    freedom
        .checked_sub(1)
        .and_then(|index| T.get(index).copied())
        .unwrap_or([1.960, 0.842])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_error_are_those_of_the_textbook() {
        // Deviation of 1, 2, 3 is 1; its standard error 1/√3.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0]).expect("values");
        assert_eq!(estimate.mean, 2.0);
        assert!((estimate.standard_error.expect("three runs") - 1.0 / 3.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Estimate::of(&[5.0]).expect("a value").standard_error, None);
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn an_interval_is_that_of_the_bootstrap() {
        let same = Difference::of(&[0.5, 0.5, 0.5]).expect("pairs");
        assert_eq!(
            (same.mean, same.interval, same.detectable),
            (0.5, Some([0.5; 2]), Some(0.0))
        );
        // Many values: the mean ± 1.96 standard errors, as for any distribution.
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
        let found = Difference::of(&values).expect("pairs");
        let error = Estimate::of(&values)
            .and_then(|e| e.standard_error)
            .expect("values");
        let [low, high] = found.interval.expect("pairs");
        assert!((low - (found.mean - 1.96 * error)).abs() < 0.1 * error, "{low}");
        assert!((high - (found.mean + 1.96 * error)).abs() < 0.1 * error, "{high}");
        assert!((found.detectable.expect("pairs") - 2.802 * error).abs() < 1e-9);
        // Five pairs with deviation 1: (2.776 + 0.941)/√5.
        let five = Difference::of(&[-1.0, 1.0, -1.0, 1.0, 0.0]).expect("pairs");
        assert!((five.detectable.expect("pairs") - 3.717 / 5.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(Difference::of(&[1.0]).expect("a pair").interval, None);
        assert_eq!(found, Difference::of(&values).expect("pairs"), "the same again");
    }
}
