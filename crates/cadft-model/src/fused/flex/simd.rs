//! Row kernels, vectorised by the compiler for the SIMD instructions of the processor.

use cadft_kernels::cpu::{LANES, fast_exp, vectorised};

#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + fast_exp(-x))
}

/// `Σ_i term(i)` for `i < length`, summed in `LANES` independent lanes.
#[inline(always)]
pub(crate) fn sum(length: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    lanes.iter().sum::<f32>() + (whole..length).map(term).sum::<f32>()
}

/// `a · b`.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || {
            let b = &b[..a.len()];
            sum(a.len(), |i| a[i] * b[i])
        },
    )
}

/// `sum += x`.
pub(super) fn add(sum: &mut [f32], x: &[f32]) {
    vectorised(
        #[inline(always)]
        || sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x),
    );
}

/// `out = w · x · r`; returns `r = 1 / √(mean(x²) + ε)`.
pub(super) fn rms_norm_row(out: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) -> f32 {
    vectorised(
        #[inline(always)]
        || {
            let mean_square = sum(x.len(), |i| x[i] * x[i]) / x.len() as f32;
            let inverse = 1.0 / (mean_square + epsilon).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * inverse * weight;
            }
            inverse
        },
    )
}

/// `dx = r w g − x r³ mean(w g x)`, `dw += g x r`.
pub(super) fn rms_norm_row_gradients(
    d_x: &mut [f32],
    d_weight: &mut [f32],
    (x, weight, grad): (&[f32], &[f32], &[f32]),
    inverse: f32,
) {
    vectorised(
        #[inline(always)]
        || {
            let mean = sum(x.len(), |i| weight[i] * grad[i] * x[i]) / x.len() as f32;
            let pull = mean * inverse * inverse * inverse;
            let inputs = x.iter().zip(weight).zip(grad);
            for ((d_x, d_weight), ((x, weight), grad)) in d_x.iter_mut().zip(d_weight.iter_mut()).zip(inputs)
            {
                *d_x = weight * grad * inverse - x * pull;
                *d_weight += grad * x * inverse;
            }
        },
    );
}

/// `out = silu(gate) · up`.
pub(super) fn swiglu(out: &mut [f32], gate: &[f32], up: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate * sigmoid(*gate) * up;
            }
        },
    );
}

/// `dup = g silu(gate)`, `dgate = g up σ(gate) (1 + gate (1 − σ(gate)))`.
pub(super) fn swiglu_gradients(d_gate: &mut [f32], d_up: &mut [f32], gate: &[f32], up: &[f32], grad: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            let inputs = gate.iter().zip(up).zip(grad);
            for ((d_gate, d_up), ((gate, up), grad)) in d_gate.iter_mut().zip(d_up.iter_mut()).zip(inputs) {
                let s = sigmoid(*gate);
                *d_up = grad * gate * s;
                *d_gate = grad * up * s * (1.0 + gate * (1.0 - s));
            }
        },
    );
}

/// `2 √(2/π)`.
const GELU_SLOPE: f32 = 1.595_769;
const GELU_CUBE: f32 = 0.044_715;

/// `out = gelu(gate) · up` with `gelu(x) = x σ(2 √(2/π) (x + 0.044715 x³))`, the tanh form.
pub(super) fn geglu(out: &mut [f32], gate: &[f32], up: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                let inner = GELU_SLOPE * gate * (1.0 + GELU_CUBE * gate * gate);
                *out = gate * sigmoid(inner) * up;
            }
        },
    );
}

/// `dup = g gelu(gate)`, `dgate = g up σ(u) (1 + gate u′ (1 − σ(u)))` with u as in [`geglu`].
pub(super) fn geglu_gradients(d_gate: &mut [f32], d_up: &mut [f32], gate: &[f32], up: &[f32], grad: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            let inputs = gate.iter().zip(up).zip(grad);
            for ((d_gate, d_up), ((gate, up), grad)) in d_gate.iter_mut().zip(d_up.iter_mut()).zip(inputs) {
                let square = gate * gate;
                let s = sigmoid(GELU_SLOPE * gate * (1.0 + GELU_CUBE * square));
                let slope = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * square);
                *d_up = grad * gate * s;
                *d_gate = grad * up * s * (1.0 + gate * slope * (1.0 - s));
            }
        },
    );
}

/// Softmax in place; returns `log Σ exp`.
pub(super) fn softmax_row(row: &mut [f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || {
            let mut maxima = [f32::NEG_INFINITY; LANES];
            let chunks = row.chunks_exact(LANES);
            let tail = chunks
                .remainder()
                .iter()
                .copied()
                .fold(f32::NEG_INFINITY, f32::max);
            for chunk in chunks {
                for lane in 0..LANES {
                    maxima[lane] = if chunk[lane] > maxima[lane] {
                        chunk[lane]
                    } else {
                        maxima[lane]
                    };
                }
            }
            let max = maxima.into_iter().fold(tail, f32::max);
            for x in row.iter_mut() {
                *x = fast_exp(*x - max);
            }
            let total = sum(row.len(), |i| row[i]);
            let inverse = 1.0 / total;
            for x in row.iter_mut() {
                *x *= inverse;
            }
            max + total.ln()
        },
    )
}

/// `log Σ exp`, summed in f64 over blocks; NaN if an element is NaN or +∞, or if all are −∞.
pub(in crate::fused) fn log_sum_exp(row: &[f32]) -> f64 {
    const BLOCK: usize = 1024;
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = row
        .chunks(BLOCK)
        .map(|block| {
            vectorised(
                #[inline(always)]
                || f64::from(sum(block.len(), |i| fast_exp(block[i] - max))),
            )
        })
        .sum();
    f64::from(max) + total.ln()
}

/// In place: `p = exp(score − lse)`, where `p` holds the scores at first, and `dz = p (dz − delta)`.
pub(super) fn score_gradients(p: &mut [f32], dz: &mut [f32], log_sum_exp: f32, delta: f32) {
    vectorised(
        #[inline(always)]
        || {
            for (p, dz) in p.iter_mut().zip(dz.iter_mut()) {
                *p = fast_exp(*p - log_sum_exp);
                *dz = *p * (*dz - delta);
            }
        },
    );
}

/// `cap · tanh(x / cap)` in place.
pub(super) fn soft_cap(row: &mut [f32], cap: f32) {
    for x in row {
        *x = cap * (*x / cap).tanh();
    }
}

/// Like [`score_gradients`], for scores before their soft-cap: `p = exp(z − lse)` with `z = cap · tanh(score / cap)`,
/// `dscore = p (dz − delta) (1 − (z / cap)²)`.
pub(super) fn capped_score_gradients(p: &mut [f32], dz: &mut [f32], log_sum_exp: f32, delta: f32, cap: f32) {
    for (p, dz) in p.iter_mut().zip(dz) {
        let bent = (*p / cap).tanh();
        *p = (cap * bent - log_sum_exp).exp();
        *dz = *p * (*dz - delta) * (1.0 - bent * bent);
    }
}

/// Rotates element i with element i + pairs. Cosines are multiplied by `along`, sines by `across`, and elements from 2
/// · pairs on by `along`.
pub(super) fn rotate(out: &mut [f32], x: &[f32], (cos, sin): (&[f32], &[f32]), along: f32, across: f32) {
    vectorised(
        #[inline(always)]
        || {
            let pairs = cos.len();
            let (out, out_rest) = out.split_at_mut(2 * pairs);
            let (x, rest) = x.split_at(2 * pairs);
            for (out, x) in out_rest.iter_mut().zip(rest) {
                *out = x * along;
            }
            let (out_first, out_second) = out.split_at_mut(pairs);
            let (first, second) = x.split_at(pairs);
            let inputs = first.iter().zip(second).zip(cos.iter().zip(sin));
            for ((out_first, out_second), ((first, second), (cos, sin))) in
                out_first.iter_mut().zip(out_second).zip(inputs)
            {
                let (cos, sin) = (cos * along, sin * across);
                *out_first = first * cos - second * sin;
                *out_second = second * cos + first * sin;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_equals_the_f64_value_for_every_length() {
        for length in [1, 2, 31, 32, 33, 100] {
            let row: Vec<f32> = (0..length)
                .map(|i| ((i * 37) % 101) as f32 * 0.21 - 9.0)
                .collect();
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let mut found = row.clone();
            let log_sum_exp = softmax_row(&mut found);
            assert!(
                (f64::from(log_sum_exp) - total.ln()).abs() < 5e-6,
                "length {length}"
            );
            for (found, x) in found.iter().zip(&row) {
                assert!((f64::from(*found) - f64::from(*x).exp() / total).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn log_sum_exp_is_that_of_f64_and_says_when_there_is_none() {
        let row: Vec<f32> = (0..5000)
            .map(|i| ((i * 7919) % 4001) as f32 * 0.004 - 9.0)
            .chain([f32::NEG_INFINITY])
            .collect();
        let exact = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        assert!((log_sum_exp(&row) - exact).abs() < 1e-6);
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(log_sum_exp(&[0.0, bad, 1.0]).is_nan());
        }
        assert!(log_sum_exp(&[f32::NEG_INFINITY; 40]).is_nan());
    }

    #[test]
    fn dot_covers_every_element() {
        for length in [0, 1, 31, 32, 33, 95] {
            let ones = vec![1.0; length];
            assert_eq!(dot(&ones, &ones), length as f32);
        }
    }
}
