//! Row kernels that the compiler vectorises for whatever the processor offers.

use cadft_kernels::{LANES, fast_exp, vectorised};

/// `log Σ exp(row)` with the maximum taken out.
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
}
