//! Loops that the compiler vectorises for several instruction sets; `pulp` selects one at run time.

use pulp::{Arch, Simd, WithSimd};

/// Number of independent accumulators: enough for the widest vectors and to hide latency.
pub const LANES: usize = 32;

/// Runs a kernel that is compiled for the best instruction set of this processor.
///
/// The kernel is an `FnMut` on purpose: an `FnOnce` is called through a shim that is not inlined here, and would be
/// compiled without those instructions.
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

/// `eˣ` with a relative error below 3e-7. A loop over it vectorises.
///
/// Arguments are clamped to `[-87.3, 88.3]`: for finite input the result is never zero, infinite or NaN.
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

/// Rounds values to the nearest bf16 value, ties to even. Infinities and NaNs stay.
pub fn round_to_bf16(values: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || values.iter_mut().for_each(|x| *x = bf16(*x)),
    );
}

#[inline(always)]
fn bf16(x: f32) -> f32 {
    // A NaN may differ from infinity only in its lower half, so it is not rounded.
    if x.is_nan() {
        x
    } else {
        f32::from_bits(rounded_bits(x.to_bits()))
    }
}

/// The bits of the nearest bf16, of two as near those of the even one; a NaN stays one.
#[inline(always)]
#[must_use]
pub fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    // A NaN whose upper digits are 0 would become infinity.
    let kept = if x.is_nan() {
        bits | 0x0040_0000
    } else {
        rounded_bits(bits)
    };
    (kept >> 16) as u16
}

/// Adds half of the last digit that is kept, less where that digit is even, and drops the rest; a carry goes into the exponent.
#[inline(always)]
fn rounded_bits(bits: u32) -> u32 {
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000
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
    fn bits_of_bf16_are_those_of_the_rounded_value() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let value = f32::from_bits(bits);
            let expected = burn::tensor::bf16::from_f32(value);
            let found = burn::tensor::bf16::from_bits(bf16_bits(value));
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{bits:#x}: {found} {expected}"
            );
        }
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
