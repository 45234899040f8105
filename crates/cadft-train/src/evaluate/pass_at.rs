//! pass@k: the probability that at least one of k answers is right, estimated from n ≥ k answers of which c are right.
//!
//! ```text
//! pass@k = 1 − C(n − c, k) / C(n, k)        (Chen et al. 2021, arXiv 2107.03374, equation 1)
//! ```

/// The unbiased estimate for one question; requires `k ≤ samples`.
///
/// Computed as `1 − Π_{i = n−c+1}^{n} (1 − k / i)`, which does not overflow.
///
/// ```
/// use cadft_train::evaluate::pass_at;
/// assert_eq!(pass_at(1, 4, 1), 0.25);
/// assert_eq!(pass_at(2, 4, 1), 0.5);
/// assert_eq!(pass_at(4, 4, 1), 1.0);
/// ```
#[must_use]
pub fn pass_at(k: usize, samples: usize, correct: usize) -> f64 {
    let wrong = samples.saturating_sub(correct);
    if wrong < k {
        return 1.0;
    }
    let all_wrong: f64 = (wrong + 1..=samples).map(|i| 1.0 - k as f64 / i as f64).product();
    1.0 - all_wrong
}

/// The values of k to report for `samples` samples: powers of two, and `samples`.
#[must_use]
pub(super) fn reported(samples: usize) -> Vec<usize> {
    let mut values: Vec<usize> = std::iter::successors(Some(1), |k| Some(2 * k))
        .take_while(|&k| k < samples)
        .collect();
    values.push(samples);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By enumeration of all choices of k samples.
    fn counted(k: usize, samples: usize, correct: usize) -> f64 {
        let (mut all, mut passed) = (0, 0);
        for chosen in 0u32..1 << samples {
            if chosen.count_ones() as usize == k {
                all += 1;
                // The first `correct` samples are right.
                passed += usize::from(chosen & ((1 << correct) - 1) != 0);
            }
        }
        passed as f64 / f64::from(all)
    }

    #[test]
    fn the_estimate_is_the_share_of_choices_that_hold_a_right_answer() {
        for samples in 1..=9 {
            for correct in 0..=samples {
                for k in 1..=samples {
                    let difference = pass_at(k, samples, correct) - counted(k, samples, correct);
                    assert!(difference.abs() < 1e-12, "{k} of {samples}, {correct} right");
                }
            }
        }
    }

    #[test]
    fn powers_of_two_and_the_whole_are_reported() {
        assert_eq!(reported(1), [1]);
        assert_eq!(reported(2), [1, 2]);
        assert_eq!(reported(6), [1, 2, 4, 6]);
        assert_eq!(reported(8), [1, 2, 4, 8]);
    }
}
