//! Clipping by the global gradient norm (Burn's own clips each tensor by itself).

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// The Euclidean norm of all gradients together, accumulated in f64 over the parameters.
#[must_use]
pub fn global_norm<M: Module>(model: &M, grads: &GradientsParams) -> f64 {
    // One read for all parameters.
    let squares = squares(model, grads).map(|sums| sums.into_data().iter().collect::<Vec<f32>>());
    norm(&squares.unwrap_or_default())
}

/// For each parameter the sum of its squared gradient, `[parameters]`; none without a gradient.
pub(crate) fn squares<M: Module>(model: &M, grads: &GradientsParams) -> Option<Tensor<1>> {
    let mut squares = Squares { grads, sums: vec![] };
    model.visit(&mut squares);
    (!squares.sums.is_empty()).then(|| Tensor::cat(squares.sums, 0))
}

/// The norm, given what [`squares`] found.
pub(crate) fn norm(squares: &[f32]) -> f64 {
    if squares.is_empty() {
        return 0.0;
    }
    squares.iter().copied().map(f64::from).sum::<f64>().sqrt()
}

/// Scales the gradients by `max / (norm + 1e-6)` where `norm` exceeds `max`, as `PyTorch` does.
#[must_use]
pub fn clip<M: Module>(model: &M, mut grads: GradientsParams, norm: f64, max: f64) -> GradientsParams {
    let factor = max / (norm + 1e-6);
    if factor < 1.0 {
        model.visit(&mut Scale {
            grads: &mut grads,
            factor,
        });
    }
    grads
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.sums.push(grad.square().sum());
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register::<D>(param.id, grad.mul_scalar(self.factor));
        }
    }
}
