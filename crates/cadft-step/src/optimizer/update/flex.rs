//! The update on the CPU, in one pass and in place.

use super::Rates;
use super::kernels::UpdateKernels;
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use cadft_kernels::cpu::vectorised;
use rayon::prelude::*;

type Float = FloatTensor<Flex>;

/// Values that one task handles.
const BLOCK: usize = 16_384;

impl UpdateKernels for Flex {
    fn adamw(
        value: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: Rates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adamw([value, first, second], grad, factor, rates)
    }
}

/// The parameter and its two moments after an update.
fn adamw(
    [value, first, second]: [Float; 3],
    grad: Float,
    factor: Float,
    rates: Rates,
) -> (Float, Float, Float) {
    let factor = whole(factor).storage::<f32>()[0];
    if factor < 0.0 {
        return (value, first, second);
    }
    let [mut value, mut first, mut second, grad] = [value, first, second, grad].map(whole);
    let blocks = (value.storage_mut::<f32>().par_chunks_mut(BLOCK))
        .zip(first.storage_mut::<f32>().par_chunks_mut(BLOCK))
        .zip(second.storage_mut::<f32>().par_chunks_mut(BLOCK))
        .zip(grad.storage::<f32>().par_chunks(BLOCK));
    blocks.for_each(|(((value, first), second), grad)| block([value, first, second], grad, factor, rates));
    (value, first, second)
}

/// A tensor that is all of its storage, in order.
fn whole(x: Float) -> Float {
    let stored = x.storage::<f32>().len();
    if x.as_slice::<f32>().is_some_and(|values| values.len() == stored) {
        x
    } else {
        x.to_contiguous()
    }
}

/// The operations and their order are those of the portable body.
fn block([value, first, second]: [&mut [f32]; 3], grad: &[f32], factor: f32, rates: Rates) {
    let Rates {
        betas: [beta_1, beta_2],
        corrections: [correction_1, correction_2],
        eps,
        lr,
        keep,
    } = rates;
    let (new_1, new_2) = (1.0 - beta_1, 1.0 - beta_2);
    vectorised(
        #[inline(always)]
        || {
            let moments = first.iter_mut().zip(second.iter_mut());
            for ((value, (first, second)), &grad) in value.iter_mut().zip(moments).zip(grad) {
                let grad = grad * factor;
                *first = *first * beta_1 + grad * new_1;
                *second = *second * beta_2 + grad * grad * new_2;
                let scale = (*second / correction_2).sqrt() + eps;
                *value = *value * keep - *first / correction_1 / scale * lr;
            }
        },
    );
}
