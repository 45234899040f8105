//! Compatibility of demonstrations with the current policy: score → standardise → weight (arXiv 2606.11206).
//!
//! ```text
//! c_i = (1/|y_i|) Σ_t −log p_{i,t}          lower is more compatible            (CADFT-1)
//! ĉ_i = (c_i − μ_B) / (σ_B + ε)             over the effective global batch     (CADFT-2)
//! w_i = exp(−β · max(0, ĉ_i))                                                   (CADFT-3)
//! ```
//!
//! Everything here is host arithmetic in f64 and carries no gradient.
//!
//! Statistics of a micro-batch cannot replace those of the global batch. The largest z-score among n samples is √(n−1):
//! a micro-batch of 4 caps z at 1.73 (w ≥ 0.18), while |B| = 256 allows 15.97.

mod moments;
mod running;
mod standardise;

pub use moments::Moments;
pub use running::RunningMoments;
pub use standardise::{EPSILON, Standardiser};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The source of mean and deviation in CADFT-2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// From the global batch itself: a scoring pass without gradient, then the weighted pass.
    #[default]
    Exact,
    /// From moving averages over earlier global batches: no second forward. Ours, an approximation.
    Running,
}

/// Settings of the sample weights.
///
/// ```
/// use cadft_core::{Compatibility, Standardiser};
///
/// // A sample less likely than the average counts for less, one that is likelier counts in full.
/// let batch: Standardiser = [1.0, 1.0, 4.0].into_iter().collect();
/// let [likely, unlikely] = [1.0, 4.0].map(|score| Compatibility::default().weight(batch.z(score)));
/// assert!(likely == 1.0 && unlikely < 0.5);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Compatibility {
    /// Strength `β ≥ 0` of CADFT-3; the paper's is 1; 0 turns the weights off.
    pub beta: f64,
    /// Where the statistics come from.
    pub statistics: Statistics,
    /// Decay of the moving averages of [`Statistics::Running`]. Ours: 0.99.
    pub statistics_decay: f64,
}

impl Default for Compatibility {
    fn default() -> Self {
        Self {
            beta: 1.0,
            statistics: Statistics::Exact,
            statistics_decay: 0.99,
        }
    }
}

impl Compatibility {
    /// CADFT-3: the weight of a sample whose standardised score is `z`.
    #[must_use]
    pub fn weight(&self, z: f64) -> f64 {
        (-self.beta * z.max(0.0)).exp()
    }
}

/// Kish's effective sample size `(Σ w)² / Σ w²`; 0 if every weight is 0.
///
/// # Examples
/// ```
/// use cadft_core::compatibility::effective_sample_size;
///
/// assert_eq!(effective_sample_size(&[1.0, 1.0, 0.0]), 2.0);
/// ```
#[must_use]
pub fn effective_sample_size(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|w| w * w).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expectation of `f` under the standard normal distribution, summed on a fine grid.
    fn expectation_under_gaussian(f: impl Fn(f64) -> f64) -> f64 {
        let (mut sum, mut mass) = (0.0, 0.0);
        for i in -80_000..=80_000 {
            let z = f64::from(i) * 1e-4;
            let density = (-0.5 * z * z).exp();
            sum += density * f(z);
            mass += density;
        }
        sum / mass
    }

    #[test]
    fn gaussian_scores_give_mean_weight_0_762_and_effective_size_0_868() {
        let compatibility = Compatibility::default();
        let mean = expectation_under_gaussian(|z| compatibility.weight(z));
        let square = expectation_under_gaussian(|z| compatibility.weight(z).powi(2));
        assert!((mean - 0.762).abs() < 5e-4, "{mean}");
        assert!(
            (mean * mean / square - 0.868).abs() < 5e-4,
            "{}",
            mean * mean / square
        );
    }

    #[test]
    fn compatible_samples_keep_their_full_weight() {
        let compatibility = Compatibility {
            beta: 3.0,
            ..Compatibility::default()
        };
        assert_eq!(compatibility.weight(-5.0), 1.0);
        assert_eq!(compatibility.weight(0.0), 1.0);
        assert!(compatibility.weight(1.0) < 0.05);
    }

    #[test]
    fn effective_sample_size_counts_equal_weights() {
        assert_eq!(effective_sample_size(&[0.5; 8]), 8.0);
        assert_eq!(effective_sample_size(&[1.0, 0.0, 0.0]), 1.0);
        assert_eq!(effective_sample_size(&[0.0, 0.0]), 0.0);
    }
}
