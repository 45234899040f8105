//! The update on the CPU, in one pass and in place.

use super::Rates;
use super::kernels::UpdateKernels;
use super::slices::{BLOCK, block};
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use cadft_kernels::cpu::{LANES, vectorised};
use cadft_kernels::flex::{Float, contiguous, floats, tensor, whole};
use rayon::prelude::*;

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

    fn accumulate(sum: FloatTensor<Self>, part: FloatTensor<Self>) -> FloatTensor<Self> {
        let (mut sum, part) = (whole(sum), contiguous(part));
        sum.storage_mut::<f32>()
            .par_chunks_mut(BLOCK)
            .zip(floats(&part).par_chunks(BLOCK))
            .for_each(|(sum, part)| {
                vectorised(
                    #[inline(always)]
                    || sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part),
                );
            });
        sum
    }

    fn sum_of_squares(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let grad = contiguous(grad);
        // Sums of blocks of fixed size, so that the result does not depend on the number of threads.
        let blocks: Vec<f64> = floats(&grad).par_chunks(BLOCK).map(squares).collect();
        #[expect(clippy::cast_possible_truncation, reason = "tensors are f32")]
        let total = blocks.iter().sum::<f64>() as f32;
        tensor(vec![total], [1])
    }
}

/// The sum of the squares of a block.
fn squares(values: &[f32]) -> f64 {
    let mut sums = [0.0_f32; LANES];
    vectorised(
        #[inline(always)]
        || {
            let (chunks, rest) = values.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    sums[lane] += chunk[lane] * chunk[lane];
                }
            }
            for (sum, value) in sums.iter_mut().zip(rest) {
                *sum += value * value;
            }
        },
    );
    sums.iter().copied().map(f64::from).sum()
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
