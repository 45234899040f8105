//! Row kernels, vectorised by the compiler for the SIMD instructions of the processor.

use crate::linear_likelihood::statistic::Statistic;
use cadft_kernels::cpu::{LANES, fast_exp, vectorised};

/// `log Σ exp(row)`; the maximum is subtracted before the exponential.
pub(super) fn row_log_sum_exp(row: &[f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || {
            let chunks = row.chunks_exact(LANES);
            let tail = chunks.remainder();
            let mut maxima = [f32::NEG_INFINITY; LANES];
            for chunk in chunks.clone() {
                for lane in 0..LANES {
                    maxima[lane] = if chunk[lane] > maxima[lane] {
                        chunk[lane]
                    } else {
                        maxima[lane]
                    };
                }
            }
            let max = maxima
                .iter()
                .chain(tail)
                .copied()
                .fold(f32::NEG_INFINITY, f32::max);
            let mut sums = [0.0f32; LANES];
            for chunk in chunks {
                for lane in 0..LANES {
                    sums[lane] += fast_exp(chunk[lane] - max);
                }
            }
            let tail: f32 = tail.iter().map(|x| fast_exp(x - max)).sum();
            // Clamped terms add at most vocab · e^−87.3, far below f32's resolution of a sum that is at least 1.
            max + (sums.iter().sum::<f32>() + tail).ln()
        },
    )
}

/// Turns logits into `−grad · softmax(logits)` in place.
pub(super) fn row_gradient(row: &mut [f32], log_sum_exp: f32, grad: f32) {
    vectorised(
        #[inline(always)]
        || {
            for x in row.iter_mut() {
                *x = -grad * fast_exp(*x - log_sum_exp);
            }
        },
    );
}

/// A statistic of `softmax(row)`.
pub(super) fn row_statistic(row: &[f32], statistic: Statistic) -> f32 {
    match statistic {
        Statistic::Entropy => row_entropy(row),
        Statistic::TopEntropy { k } => row_entropy(&largest(row, k)),
        Statistic::Collision => row_collision(row),
        Statistic::TopMass { k } => row_top_mass(row, k),
    }
}

/// `−Σ p·log p`.
fn row_entropy(row: &[f32]) -> f32 {
    let log_sum_exp = row_log_sum_exp(row);
    -sum_of(
        row,
        #[inline(always)]
        |x| {
            let log_prob = x - log_sum_exp;
            fast_exp(log_prob) * log_prob
        },
    )
}

/// `Σ p²`.
fn row_collision(row: &[f32]) -> f32 {
    let log_sum_exp = row_log_sum_exp(row);
    sum_of(
        row,
        #[inline(always)]
        |x| fast_exp(2.0 * (x - log_sum_exp)),
    )
}

/// `Σ p` of the `k` largest values.
fn row_top_mass(row: &[f32], k: usize) -> f32 {
    let log_sum_exp = row_log_sum_exp(row);
    largest(row, k).iter().map(|x| fast_exp(x - log_sum_exp)).sum()
}

/// `KL(softmax(q)‖softmax(p))` of two rows of logits.
pub(super) fn row_divergence(p: &[f32], q: &[f32]) -> f32 {
    let (sum_p, sum_q) = (row_log_sum_exp(p), row_log_sum_exp(q));
    vectorised(
        #[inline(always)]
        || {
            let term = |p: f32, q: f32| {
                let log_q = q - sum_q;
                fast_exp(log_q) * (log_q - (p - sum_p))
            };
            let (of_p, of_q) = (p.chunks_exact(LANES), q.chunks_exact(LANES));
            let tails = of_p.remainder().iter().zip(of_q.remainder());
            let tail: f32 = tails.map(|(&p, &q)| term(p, q)).sum();
            let mut sums = [0.0f32; LANES];
            for (p, q) in of_p.zip(of_q) {
                for lane in 0..LANES {
                    sums[lane] += term(p[lane], q[lane]);
                }
            }
            sums.iter().sum::<f32>() + tail
        },
    )
}

/// Turns logits `p` into `grad · (softmax(p) − softmax(q))` in place.
pub(super) fn row_divergence_gradient(p: &mut [f32], q: &[f32], grad: f32) {
    let (sum_p, sum_q) = (row_log_sum_exp(p), row_log_sum_exp(q));
    vectorised(
        #[inline(always)]
        || {
            for (p, &q) in p.iter_mut().zip(q) {
                *p = grad * (fast_exp(*p - sum_p) - fast_exp(q - sum_q));
            }
        },
    );
}

/// The sum of `term(x)` over a row.
#[inline(always)]
fn sum_of(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    vectorised(
        #[inline(always)]
        || {
            let chunks = row.chunks_exact(LANES);
            let tail: f32 = chunks.remainder().iter().map(|&x| term(x)).sum();
            let mut sums = [0.0f32; LANES];
            for chunk in chunks {
                for lane in 0..LANES {
                    sums[lane] += term(chunk[lane]);
                }
            }
            sums.iter().sum::<f32>() + tail
        },
    )
}

/// The `k` largest values of a row in descending order, or all of a shorter row.
fn largest(row: &[f32], k: usize) -> Vec<f32> {
    let mut largest: Vec<f32> = Vec::with_capacity(k + 1);
    for &x in row {
        if largest.len() == k && largest.last().is_none_or(|&least| x <= least) {
            continue;
        }
        let place = largest.partition_point(|&other| other >= x);
        largest.insert(place, x);
        largest.truncate(k);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_equals_the_f64_value_for_every_length() {
        for len in [1, 2, 31, 32, 33, 64, 1000] {
            let row: Vec<f32> = (0..len).map(|i| ((i * 37) % 101) as f32 * 0.31 - 11.0).collect();
            let exact = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            assert!(
                (f64::from(row_log_sum_exp(&row)) - exact).abs() < 5e-6,
                "length {len}"
            );
        }
    }

    #[test]
    fn log_sum_exp_survives_logits_of_ten_thousand() {
        assert_eq!(row_log_sum_exp(&[1e4, -1e4, 0.0]), 1e4);
        assert_eq!(row_log_sum_exp(&[-1e4, -1e4]), -1e4 + 2f32.ln());
    }

    #[test]
    fn statistics_equal_their_f64_values_for_every_length() {
        for len in [1, 2, 19, 20, 21, 64, 1000] {
            let row: Vec<f32> = (0..len).map(|i| ((i * 37) % 101) as f32 * 0.11 - 4.0).collect();
            let probs = |row: &[f32]| -> Vec<f64> {
                let exp: Vec<f64> = row.iter().map(|&x| f64::from(x).exp()).collect();
                let sum: f64 = exp.iter().sum();
                exp.into_iter().map(|x| x / sum).collect()
            };
            let entropy = |row: &[f32]| probs(row).iter().map(|p| -p * p.ln()).sum::<f64>();
            let mut sorted = row.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let collision = probs(&row).iter().map(|p| p * p).sum::<f64>();
            let mass = probs(&sorted).iter().take(2).sum::<f64>();
            for (statistic, exact) in [
                (Statistic::Entropy, entropy(&row)),
                (Statistic::TopEntropy { k: 20 }, entropy(&sorted[..len.min(20)])),
                (Statistic::Collision, collision),
                (Statistic::TopMass { k: 2 }, mass),
            ] {
                let found = f64::from(row_statistic(&row, statistic));
                assert!(
                    (found - exact).abs() < 5e-6,
                    "{statistic:?} of {len}: {found}, {exact}"
                );
            }
        }
    }

    #[test]
    fn divergence_and_its_gradient_equal_their_f64_values_for_every_length() {
        for len in [1, 2, 31, 32, 33, 1000] {
            let drawn = |step: usize| -> Vec<f32> {
                (0..len).map(|i| ((i * step) % 101) as f32 * 0.11 - 4.0).collect()
            };
            let log_probs = |row: &[f32]| -> Vec<f64> {
                let sum = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
                row.iter().map(|&x| f64::from(x) - sum).collect()
            };
            let (mut p, q) = (drawn(37), drawn(23));
            let (log_p, log_q) = (log_probs(&p), log_probs(&q));
            let exact: f64 = log_p.iter().zip(&log_q).map(|(p, q)| q.exp() * (q - p)).sum();
            let found = f64::from(row_divergence(&p, &q));
            assert!((found - exact).abs() < 2e-5, "{len}: {found}, {exact}");
            row_divergence_gradient(&mut p, &q, 0.5);
            for ((found, p), q) in p.iter().zip(&log_p).zip(&log_q) {
                assert!((f64::from(*found) - 0.5 * (p.exp() - q.exp())).abs() < 1e-6);
            }
        }
    }
}
