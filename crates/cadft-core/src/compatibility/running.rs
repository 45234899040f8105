//! Moving statistics over earlier global batches: standardised scores without a second forward pass.

use super::{Moments, Standardiser};
use serde::{Deserialize, Serialize};

/// Bias-corrected moving averages of the first two raw moments of the scores.
///
/// ```text
/// m ← d·m + (1−d)·E_B[c],   v ← d·v + (1−d)·E_B[c²]
/// μ = m/(1−dᵗ),   σ² = max(v/(1−dᵗ) − μ², 0)
/// ```
///
/// Ours, an approximation of CADFT-2. The batch of step t is standardised with batches 1…t−1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningMoments {
    decay: f64,
    first: f64,
    second: f64,
    /// `1 − dᵗ`: the total weight given to the batches seen so far.
    mass: f64,
}

impl RunningMoments {
    /// Moving averages with no batch seen yet; `decay` is in `[0, 1)`.
    #[must_use]
    pub fn new(decay: f64) -> Self {
        Self {
            decay,
            first: 0.0,
            second: 0.0,
            mass: 0.0,
        }
    }

    /// Adds a finished global batch; an empty batch changes nothing.
    pub fn update(&mut self, batch: &Moments) {
        if batch.count() == 0.0 {
            return;
        }
        let keep = self.decay;
        let second = batch.variance() + batch.mean() * batch.mean();
        self.first = keep * self.first + (1.0 - keep) * batch.mean();
        self.second = keep * self.second + (1.0 - keep) * second;
        self.mass = keep * self.mass + (1.0 - keep);
    }

    /// Mean and deviation so far; `None` before the first batch.
    #[must_use]
    pub fn standardiser(&self) -> Option<Standardiser> {
        if self.mass == 0.0 {
            return None;
        }
        let mean = self.first / self.mass;
        let variance = (self.second / self.mass - mean * mean).max(0.0);
        Some(Standardiser {
            mean,
            std: variance.sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stream_gives_the_exact_statistics_from_the_first_batch() {
        let batch: Moments = [1.0, 2.0, 4.0].into_iter().collect();
        let exact = Standardiser::from(&batch);
        let mut running = RunningMoments::new(0.99);
        assert_eq!(running.standardiser(), None);
        for _ in 0..50 {
            running.update(&batch);
            let now = running.standardiser().unwrap();
            assert!((now.mean - exact.mean).abs() < 1e-12 && (now.std - exact.std).abs() < 1e-9);
        }
    }

    #[test]
    fn old_batches_are_forgotten() {
        let mut running = RunningMoments::new(0.9);
        running.update(&[100.0, 200.0].into_iter().collect());
        let new: Moments = [1.0, 2.0].into_iter().collect();
        for _ in 0..400 {
            running.update(&new);
        }
        assert!((running.standardiser().unwrap().mean - 1.5).abs() < 1e-6);
    }
}
