//! The update on slices in host memory: the operations and their order are those of the portable body.

use super::Rates;
use cadft_kernels::cpu::vectorised;

/// Number of values in one task; a multiple of the blocks that share a scale.
pub(in crate::optimizer) const BLOCK: usize = 16_384;

/// Updates a part of a parameter and of its two moments.
pub(in crate::optimizer) fn block(parts: [&mut [f32]; 3], grad: &[f32], factor: f32, rates: Rates) {
    let [value, first, second] = parts;
    vectorised(
        #[inline(always)]
        || lanes([&mut *value, &mut *first, &mut *second], grad, factor, rates),
    );
}

/// As [`block`], within a loop that is vectorised already.
#[inline(always)]
pub(in crate::optimizer) fn lanes(
    [value, first, second]: [&mut [f32]; 3],
    grad: &[f32],
    factor: f32,
    rates: Rates,
) {
    let Rates {
        betas: [beta_1, beta_2],
        corrections: [correction_1, correction_2],
        eps,
        lr,
        keep,
    } = rates;
    let (new_1, new_2) = (1.0 - beta_1, 1.0 - beta_2);
    let moments = first.iter_mut().zip(second.iter_mut());
    for ((value, (first, second)), &grad) in value.iter_mut().zip(moments).zip(grad) {
        let grad = grad * factor;
        *first = *first * beta_1 + grad * new_1;
        *second = *second * beta_2 + grad * grad * new_2;
        let scale = (*second / correction_2).sqrt() + eps;
        *value = *value * keep - *first / correction_1 / scale * lr;
    }
}
