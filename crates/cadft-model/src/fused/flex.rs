//! Kernels on Flex: blocked GEMM, rayon, and SIMD selected at run time.
//!
//! Sums over rows are computed in blocks of fixed size, and the blocks are added in order. The results do not depend on
//! the number of threads.

use burn::backend::tensor::IntTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;
use cadft_kernels::Precision;
use cadft_kernels::cpu::few_rows_product;
use cadft_kernels::flex::{Float, contiguous, floats, product, tensor, view};
use rayon::prelude::*;

use super::kernels::{AttentionOutputs, AttentionSaved, DecoderKernels};
use super::{Activation, AttentionOptions, FEW_ROWS};

mod attention;
mod cached;
mod heads;
mod simd;

use attention::{causal_attention, causal_attention_gradients};
pub(crate) use cached::{SequenceCache, cached_attention};
pub(super) use simd::log_sum_exp;
pub(crate) use simd::{sigmoid, sum};

/// Tasks that the rows of a scattered sum are cut into.
const SCATTER_TASKS: usize = 64;

/// Number of elements that one task of an elementwise kernel handles.
const BLOCK: usize = 8192;

impl DecoderKernels for Flex {
    fn linear_forward(x: Float, weight: Float) -> Float {
        linear(x, weight)
    }

    fn linear_input_gradient(grad: Float, weight: Float) -> Float {
        let (grad, weight) = (contiguous(grad), contiguous(weight));
        product(view(&grad), view(&weight))
    }

    fn linear_weight_gradient(grad: Float, x: Float) -> Float {
        let (grad, x) = (contiguous(grad), contiguous(x));
        product(view(&grad).transpose(), view(&x))
    }

    fn scatter_rows(grad: Float, ids: IntTensor<Self>, rows: usize) -> Float {
        let grad = contiguous(grad);
        let [_, columns] = grad.shape().dims::<2>();
        let ids: Vec<usize> = ids.into_data().iter::<i64>().map(|id| id as usize).collect();
        // Each task has the rows of a part of the sum, and looks for their ids: sums are taken in the order of ids.
        let part = rows.div_ceil(SCATTER_TASKS).max(1);
        let (grads, mut sum) = (floats(&grad), vec![0.0; rows * columns]);
        sum.par_chunks_mut(part * columns)
            .enumerate()
            .for_each(|(index, sum)| {
                let own = index * part..(index + 1) * part;
                for (&id, grad) in ids
                    .iter()
                    .zip(grads.chunks(columns))
                    .filter(|(id, _)| own.contains(id))
                {
                    let at = (id - own.start) * columns;
                    simd::add(&mut sum[at..at + columns], grad);
                }
            });
        tensor(sum, [rows, columns])
    }

    fn rms_norm_forward(x: Float, weight: Float, epsilon: f64) -> (Float, Float) {
        rms_norm(x, weight, epsilon)
    }

    fn rms_norm_backward(x: Float, weight: Float, inverse: Float, grad: Float) -> (Float, Float) {
        rms_norm_gradients((x, weight, inverse), grad)
    }

    fn gated_forward(activation: Activation, gate: Float, up: Float, precision: Precision) -> Float {
        precision.factor::<Self>(gated(activation, gate, up))
    }

    fn gated_backward(
        activation: Activation,
        gate: Float,
        up: Float,
        grad: Float,
        _precision: Precision,
    ) -> (Float, Float) {
        gated_gradients(activation, [gate, up], grad)
    }

    fn attention_forward(
        query: Float,
        key: Float,
        value: Float,
        cos: Float,
        sin: Float,
        options: AttentionOptions,
    ) -> AttentionOutputs<Float> {
        causal_attention([query, key, value], [cos, sin], &options)
    }

    fn attention_backward(saved: AttentionSaved<Self>, grad: Float) -> (Float, Float, Float) {
        causal_attention_gradients(saved, grad)
    }
}

/// `x Wᵀ`.
fn linear(x: Float, weight: Float) -> Float {
    let (x, weight) = (contiguous(x), contiguous(weight));
    let [rows, input] = x.shape().dims::<2>();
    if rows > FEW_ROWS {
        return product(view(&x), view(&weight).transpose());
    }
    let [output, _] = weight.shape().dims::<2>();
    tensor(
        few_rows_product(floats(&x), floats(&weight), input),
        [rows, output],
    )
}

/// The normalised rows, and `1 / √(mean(x²) + ε)` of each row.
fn rms_norm(x: Float, weight: Float, epsilon: f64) -> (Float, Float) {
    let (x, weight) = (contiguous(x), contiguous(weight));
    let (values, weight) = (floats(&x), floats(&weight));
    let hidden = weight.len();
    let rows = values.len() / hidden;
    let (mut out, mut inverse) = (vec![0.0; values.len()], vec![0.0; rows]);
    out.par_chunks_mut(hidden)
        .zip(values.par_chunks(hidden))
        .zip(&mut inverse)
        .with_min_len(BLOCK.div_ceil(hidden))
        .for_each(|((out, x), inverse)| *inverse = simd::rms_norm_row(out, x, weight, epsilon as f32));
    (
        Float::from_data(TensorData::new(out, x.shape())),
        tensor(inverse, [rows]),
    )
}

/// The gradients of `x` and the weight, from the inputs and the second output of [`rms_norm`].
fn rms_norm_gradients((x, weight, inverse): (Float, Float, Float), grad: Float) -> (Float, Float) {
    let (x, weight, grad) = (contiguous(x), contiguous(weight), contiguous(grad));
    let (values, weight, inverse, grad) = (floats(&x), floats(&weight), floats(&inverse), floats(&grad));
    let hidden = weight.len();
    let rows = BLOCK.div_ceil(hidden);
    let mut d_x = vec![0.0; values.len()];
    let d_weights: Vec<Vec<f32>> = d_x
        .par_chunks_mut(rows * hidden)
        .zip(
            values
                .par_chunks(rows * hidden)
                .zip(grad.par_chunks(rows * hidden)),
        )
        .zip(inverse.par_chunks(rows))
        .map(|((d_x, (x, grad)), inverse)| {
            let mut d_weight = vec![0.0; hidden];
            let rows = x.chunks(hidden).zip(grad.chunks(hidden)).zip(inverse);
            for (d_x, ((x, grad), &inverse)) in d_x.chunks_mut(hidden).zip(rows) {
                simd::rms_norm_row_gradients(d_x, &mut d_weight, (x, weight, grad), inverse);
            }
            d_weight
        })
        .collect();
    let mut d_weight = vec![0.0; hidden];
    for part in d_weights {
        d_weight.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    (
        Float::from_data(TensorData::new(d_x, x.shape())),
        tensor(d_weight, [hidden]),
    )
}

/// `activation(gate) · up`.
fn gated(activation: Activation, gate: Float, up: Float) -> Float {
    let (gate, up) = (contiguous(gate), contiguous(up));
    let mut out = vec![0.0; floats(&gate).len()];
    out.par_chunks_mut(BLOCK)
        .zip(floats(&gate).par_chunks(BLOCK).zip(floats(&up).par_chunks(BLOCK)))
        .for_each(|(out, (gate, up))| match activation {
            Activation::Silu => simd::swiglu(out, gate, up),
            Activation::GeluTanh => simd::geglu(out, gate, up),
        });
    Float::from_data(TensorData::new(out, gate.shape()))
}

/// The gradients of `gate` and `up`.
fn gated_gradients(activation: Activation, [gate, up]: [Float; 2], grad: Float) -> (Float, Float) {
    let (gate, up, grad) = (contiguous(gate), contiguous(up), contiguous(grad));
    let size = floats(&gate).len();
    let (mut d_gate, mut d_up) = (vec![0.0; size], vec![0.0; size]);
    let inputs = floats(&gate).par_chunks(BLOCK).zip(floats(&up).par_chunks(BLOCK));
    d_gate
        .par_chunks_mut(BLOCK)
        .zip(d_up.par_chunks_mut(BLOCK))
        .zip(inputs.zip(floats(&grad).par_chunks(BLOCK)))
        .for_each(|((d_gate, d_up), ((gate, up), grad))| match activation {
            Activation::Silu => simd::swiglu_gradients(d_gate, d_up, gate, up, grad),
            Activation::GeluTanh => simd::geglu_gradients(d_gate, d_up, gate, up, grad),
        });
    let wrap = |values| Float::from_data(TensorData::new(values, gate.shape()));
    (wrap(d_gate), wrap(d_up))
}
