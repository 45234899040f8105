//! The update where moments are kept in 16 or 8 bits: a tile of them is widened, updated and rounded again.
//!
//! ```text
//! bf16    the upper 16 bits of (bits of m + 16 random bits)
//! int8    the code of the value of the map that is nearest to m/a,  a = max |m| of 256 values
//! ```
//!
//! The parameter is updated with moments that are not rounded yet. Rounding to bf16 is stochastic, so that a moment that
//! changes by less than its last digit still follows its gradients in the mean. In 8 bits a first moment keeps its sign:
//! a negative one is never rounded to 0, as in bitsandbytes' kernel.

use super::noise::Noise;
use crate::optimizer::update::Rates;
use crate::optimizer::update::slices::lanes;
use burn::tensor::bf16;
use cadft_kernels::cpu::{LANES, vectorised};
use cadft_kernels::dynamic::{DynamicMap, SIGNED, UNSIGNED};

/// Number of moments that share a scale in 8 bits; a tile in bf16 has as many.
pub(in crate::optimizer) const TILE: usize = 256;
/// The least scale that values are divided by, so that its inverse is finite.
const SMALLEST: f32 = 1e-38;

/// Updates a part of a parameter whose moments are bf16.
pub(super) fn bf16_block(
    value: &mut [f32],
    [first, second]: [&mut [bf16]; 2],
    grad: &[f32],
    factor: f32,
    (rates, noise): (Rates, Noise),
) {
    let [mut wide_1, mut wide_2] = [[0.0f32; TILE]; 2];
    vectorised(
        #[inline(always)]
        || {
            let moments = (first.chunks_mut(TILE)).zip(second.chunks_mut(TILE));
            let tiles = value.chunks_mut(TILE).zip(grad.chunks(TILE)).zip(moments);
            for (tile, ((value, grad), (first, second))) in tiles.enumerate() {
                let (wide_1, wide_2) = (&mut wide_1[..value.len()], &mut wide_2[..value.len()]);
                widen(wide_1, first);
                widen(wide_2, second);
                lanes([value, &mut *wide_1, &mut *wide_2], grad, factor, rates);
                let wide = wide_1.iter().zip(wide_2.iter());
                let kept = first.iter_mut().zip(second.iter_mut());
                for (index, ((wide_1, wide_2), (first, second))) in wide.zip(kept).enumerate() {
                    let bits = noise.at(tile * TILE + index);
                    *first = rounded(*wide_1, bits >> 16);
                    *second = rounded(*wide_2, bits & 0xffff);
                }
            }
        },
    );
}

#[inline(always)]
fn widen(wide: &mut [f32], kept: &[bf16]) {
    for (wide, kept) in wide.iter_mut().zip(kept) {
        *wide = f32::from_bits(u32::from(kept.to_bits()) << 16);
    }
}

/// The bf16 below or above in size; above with the probability of what is between. Infinities stay.
#[inline(always)]
fn rounded(x: f32, random: u32) -> bf16 {
    bf16::from_bits((x.to_bits().wrapping_add(random) >> 16) as u16)
}

/// One of the two moments of a part of a parameter: its codes, and the scales of whole tiles.
pub(super) struct Coded<'a> {
    pub(super) codes: &'a mut [u8],
    pub(super) absmax: &'a mut [f32],
}

/// Updates a part of a parameter whose moments are in 8 bits. It begins with a whole tile.
pub(super) fn int8_block(
    value: &mut [f32],
    [first, second]: [Coded<'_>; 2],
    grad: &[f32],
    factor: f32,
    rates: Rates,
) {
    let [mut wide_1, mut wide_2] = [[0.0f32; TILE]; 2];
    let (signed, unsigned) = (&*SIGNED, &*UNSIGNED);
    vectorised(
        #[inline(always)]
        || {
            let firsts = first.codes.chunks_mut(TILE).zip(first.absmax.iter_mut());
            let seconds = second.codes.chunks_mut(TILE).zip(second.absmax.iter_mut());
            let tiles = value.chunks_mut(TILE).zip(grad.chunks(TILE));
            for ((value, grad), ((first, absmax_1), (second, absmax_2))) in tiles.zip(firsts.zip(seconds)) {
                let (wide_1, wide_2) = (&mut wide_1[..value.len()], &mut wide_2[..value.len()]);
                decode(wide_1, first, *absmax_1, signed);
                decode(wide_2, second, *absmax_2, unsigned);
                lanes([value, &mut *wide_1, &mut *wide_2], grad, factor, rates);
                *absmax_1 = encode(first, wide_1, signed);
                *absmax_2 = encode(second, wide_2, unsigned);
                keep_signs(first, wide_1, signed);
            }
        },
    );
}

/// The values of a tile.
#[inline(always)]
pub(super) fn decode(values: &mut [f32], codes: &[u8], absmax: f32, map: &DynamicMap) {
    for (value, &code) in values.iter_mut().zip(codes) {
        *value = map.values[usize::from(code)] * absmax;
    }
}

/// The nearest codes of a tile. Returns the scale.
#[inline(always)]
pub(super) fn encode(codes: &mut [u8], values: &[f32], map: &DynamicMap) -> f32 {
    let absmax = largest(values);
    let inverse = 1.0 / absmax.max(SMALLEST);
    for (code, &value) in codes.iter_mut().zip(values) {
        *code = map.nearest((value * inverse).clamp(-1.0, 1.0));
    }
    absmax
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut most = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            most[lane] = most[lane].max(chunk[lane].abs());
        }
    }
    let rest = rest.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    most.iter().fold(rest, |most, value| most.max(*value))
}

/// Moves codes whose value has another sign than the moment to the next one.
#[inline(always)]
fn keep_signs(codes: &mut [u8], values: &[f32], map: &DynamicMap) {
    for (code, value) in codes.iter_mut().zip(values) {
        let is_negative = map.values[usize::from(*code)].is_sign_negative();
        if is_negative != value.is_sign_negative() {
            *code = if *value > 0.0 {
                code.wrapping_add(1)
            } else {
                code.wrapping_sub(1)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_right_in_the_mean() {
        let noise = Noise::new(3, 1, 4);
        for x in [1.0 + 0.3 / 128.0, -2.5e-9, 7e-4, 1.0] {
            const COUNT: usize = 1 << 16;
            let kept = (0..COUNT).map(|at| f64::from(rounded(x, noise.at(at) >> 16).to_f32()));
            let mean = kept.sum::<f64>() / COUNT as f64;
            // The last digit is 2⁻⁷ of the number or less; its half over 256 is the deviation of the mean.
            let by = 6.0 * f64::from(x).abs() / 128.0 / 2.0 / 256.0;
            assert!((mean - f64::from(x)).abs() <= by, "{x}: {mean}");
        }
        for x in [f32::INFINITY, f32::NEG_INFINITY, 0.0] {
            assert_eq!(rounded(x, 0xffff).to_f32(), x);
        }
    }

    #[test]
    fn a_first_moment_keeps_its_sign() {
        let values = [1.0, -1e-9, 1e-9, -0.5, 0.0];
        let mut codes = [0; 5];
        assert_eq!(encode(&mut codes, &values, &SIGNED), 1.0);
        keep_signs(&mut codes, &values, &SIGNED);
        let kept = codes.map(|code| SIGNED.values[usize::from(code)]);
        assert!(kept[1] < 0.0 && kept[1] > -1e-6, "{kept:?}");
        assert_eq!([kept[0], kept[2], kept[4]], [1.0, 0.0, 0.0]);
    }
}
