//! Clipping by the global gradient norm: computes the norm, and the factor by which the update multiplies gradients.
//!
//! Burn's own clipping treats each tensor separately. Here both numbers stay on the device.

use crate::optimizer::sum_of_squares;
use crate::ranks::{Owned, Ranks};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use cadft_model::ParamGradients;
use std::collections::HashMap;

/// The Euclidean norm of all gradients together, with sums over parameters in f64.
#[must_use]
pub fn global_norm<M: Module>(model: &M, grads: &ParamGradients) -> f64 {
    // One read from the device for all parameters.
    let squares = squares(model, grads).map(|sums| sums.into_data().iter().collect::<Vec<f32>>());
    norm(&squares.unwrap_or_default())
}

/// The sum of the squared gradient of each parameter, `[parameters]`; `None` if no parameter has a gradient.
#[must_use]
pub fn squares<M: Module>(model: &M, grads: &ParamGradients) -> Option<Tensor<1>> {
    let mut squares = Squares { grads, sums: vec![] };
    model.visit(&mut squares);
    (!squares.sums.is_empty()).then(|| Tensor::cat(squares.sums, 0))
}

/// The sums of squared gradients of all ranks, `[parameters or pieces of them]`, and the clipping factor, `[1]`.
/// Without gradients the norm is 0. `loss`, `[1]`, is this rank's part of the loss.
pub(crate) fn clipping<M: Module>(
    model: &M,
    grads: &ParamGradients,
    loss: Tensor<1>,
    max: f64,
    ranks: &Ranks,
) -> (Tensor<1>, Tensor<1>) {
    if ranks.shards() == 1 {
        let squares = squares(model, grads).unwrap_or_else(|| loss.zeros_like());
        let factor = clip_factor(squares.clone(), loss, max);
        return (squares, factor);
    }
    let mut own = OwnSquares {
        grads,
        ranks,
        owned: ranks.owned_by_id(model).into_iter().collect(),
        zero: loss.zeros_like(),
        sums: vec![],
    };
    model.visit(&mut own);
    own.sums.push(loss);
    let all = ranks.sum(Tensor::cat(own.sums, 0));
    let [places] = all.dims();
    let parameters = places - 1;
    let squares = all.clone().slice([..parameters]);
    let factor = clip_factor(squares.clone(), all.slice([parameters..]), max);
    (squares, factor)
}

/// The norm, from the values of [`squares`].
pub(crate) fn norm(squares: &[f32]) -> f64 {
    if squares.is_empty() {
        return 0.0;
    }
    squares.iter().copied().map(f64::from).sum::<f64>().sqrt()
}

/// The factor for gradients, `[1]`: `min(1, max / (norm + 1e-6))`, as in `PyTorch`. It is -1 if the norm or the loss is
/// not finite; a negative factor skips the update.
///
/// # Shapes
/// `squares`, the sums of squared gradients: `[parameters]`; `loss`: `[1]`.
#[must_use]
pub fn clip_factor(squares: Tensor<1>, loss: Tensor<1>, max: f64) -> Tensor<1> {
    let square = squares.sum();
    let is_finite = square.clone().is_finite().bool_and(loss.is_finite());
    let factor = square.sqrt().add_scalar(1e-6).recip().mul_scalar(max);
    // Mask last: `min(1, NaN)` may be 1.
    factor.clamp_max(1.0).mask_fill(is_finite.bool_not(), -1.0)
}

/// Collects a sum of squares for each trained parameter, and one for each piece of a parameter that is cut; 0 if
/// another rank owns it.
struct OwnSquares<'a> {
    grads: &'a ParamGradients,
    ranks: &'a Ranks,
    owned: HashMap<ParamId, Owned>,
    zero: Tensor<1>,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for OwnSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let grad = self.grads.get::<D>(param.id);
        let owned = self.owned.get(&param.id).unwrap_or(&Owned::Not);
        let Some((first, pieces)) = self.ranks.pieces(owned, param.lazy_shape()[0]) else {
            self.sums
                .push(grad.map_or_else(|| self.zero.clone(), sum_of_squares));
            return;
        };
        let mut sums = vec![self.zero.clone(); self.ranks.shards()];
        if let Some(grad) = grad {
            for (sum, rows) in sums[first..].iter_mut().zip(pieces) {
                *sum = sum_of_squares(grad.clone().slice([rows]));
            }
        }
        self.sums.extend(sums);
    }
}

struct Squares<'a> {
    grads: &'a ParamGradients,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.sums.push(sum_of_squares(grad));
        }
    }
}
