//! Loops that the compiler vectorises for whatever the processor offers, chosen at run time by `pulp`.

use pulp::{Arch, Simd, WithSimd};

/// Independent accumulators: enough for the widest vectors and to hide latency.
pub const LANES: usize = 32;

/// Runs a kernel compiled for the best instruction set of this processor.
///
/// The kernel is called as `FnMut`: a closure called as `FnOnce` goes through a shim that is not inlined here, and would
/// be compiled without those instructions.
pub fn vectorised<R>(kernel: impl FnMut() -> R) -> R {
    struct Kernel<F>(F);
    impl<R, F: FnMut() -> R> WithSimd for Kernel<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _simd: S) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Kernel(kernel))
}

/// `eˣ` with a relative error below 3e-7, written so that a loop over it vectorises.
///
/// Arguments outside `[-87.3, 88.3]` are clamped: the result is never zero, infinite or NaN for finite input.
#[inline(always)]
#[must_use]
pub fn fast_exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.3);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    // Cody–Waite reduction: ln 2 in two parts.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4f32.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 5e-1);
    let y = p.mul_add(r * r, r) + 1.0;
    f32::from_bits((((n as i32) + 127) as u32) << 23) * y
}

/// Rounds values to the nearest that bf16 has, of two as near to the even one; what is not finite stays so.
pub fn round_to_bf16(values: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || values.iter_mut().for_each(|x| *x = bf16(*x)),
    );
}

#[inline(always)]
fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    // Half of the last digit that is kept, less where that digit is even; a carry goes into the exponent.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    // The lower half of a NaN's digits may be all that distinguishes it from infinity.
    let kept = if x.is_nan() { bits } else { rounded };
    f32::from_bits(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_the_nearest_bf16_and_ties_to_even() {
        let last = 2f32.powi(-7); // the last digit of bf16 at 1
        let mut values = [
            1.0,
            -1.0 - 0.4 * last,
            1.0 + 0.6 * last,
            1.0 + 0.5 * last,
            1.0 + 1.5 * last,
            1e-39,
            f32::MAX,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        round_to_bf16(&mut values);
        assert_eq!(values[..5], [1.0, -1.0, 1.0 + last, 1.0, 1.0 + 2.0 * last]);
        assert!((values[5] - 1e-39).abs() < 1e-40, "{:e}", values[5]);
        assert_eq!(values[6..8], [f32::INFINITY, f32::NEG_INFINITY]);
        assert!(values[8].is_nan());
    }

    #[test]
    fn fast_exp_is_within_3e_7_of_exp() {
        let mut worst = 0.0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(fast_exp(x)) - exact) / exact).abs());
        }
        assert!(worst < 3e-7, "worst relative error {worst:e}");
    }
}
