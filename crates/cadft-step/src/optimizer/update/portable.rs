//! The update in tensor operations: its definition, and the oracle of the kernels.

use super::Rates;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{BoolDType, Shape};

/// The parameter and its two moments after an update.
pub(super) fn adamw<B: Backend>(
    before: [FloatTensor<B>; 3],
    grad: FloatTensor<B>,
    factor: FloatTensor<B>,
    rates: Rates,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let Rates {
        betas,
        corrections,
        eps,
        lr,
        keep,
    } = rates;
    let shape = grad.shape();
    let factor = B::float_reshape(factor, Shape::from(vec![1; shape.num_dims()]));
    let factor = B::float_expand(factor, shape);
    let is_left_out = B::float_lower_elem(factor.clone(), 0f32.into(), BoolDType::Native);
    let scaled = |x: FloatTensor<B>, factor: f32| B::float_mul_scalar(x, factor.into());
    let blend = |old, beta: f32, new| B::float_add(scaled(old, beta), scaled(new, 1.0 - beta));
    let [value, first, second] = before.clone();
    let grad = B::float_mul(grad, factor);
    let square = B::float_mul(grad.clone(), grad.clone());
    let first = blend(first, betas[0], grad);
    let second = blend(second, betas[1], square);
    let mean = B::float_div_scalar(first.clone(), corrections[0].into());
    let scale = B::float_sqrt(B::float_div_scalar(second.clone(), corrections[1].into()));
    let delta = B::float_div(mean, B::float_add_scalar(scale, eps.into()));
    let value = B::float_sub(scaled(value, keep), scaled(delta, lr));
    let kept = |new, old| B::float_mask_where(new, is_left_out.clone(), old);
    let [old_value, old_first, old_second] = before;
    (
        kept(value, old_value),
        kept(first, old_first),
        kept(second, old_second),
    )
}
