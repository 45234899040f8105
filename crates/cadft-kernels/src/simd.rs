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

#[cfg(test)]
mod tests {
    use super::*;

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
