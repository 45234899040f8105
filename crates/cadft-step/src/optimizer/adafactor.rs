//! Adafactor: the second moment of a matrix is kept as means of its rows and columns.
//!
//! ```text
//! S = G² + ε₁                    β = 1 − t^−0.8
//! r ← β·r + (1−β)·mean of S over columns         c ← β·c + (1−β)·mean of S over rows
//! U = G / √(r cᵀ / mean r)       of a vector: G / √v with v ← β·v + (1−β)·S
//! θ ← (1−η·λ)·θ − η·U / max(1, RMS(U)/d)         d = 1
//! ```
//!
//! With `scale-parameter`, η is the learning rate times `max(ε₂, RMS(θ))`. Shazeer and Stern, Adafactor: Adaptive Learning Rates
//! with Sublinear Memory Cost (arXiv 1804.04235), as transformers' `Adafactor` without `relative_step` and `beta1`:
//! ε₁ = 1e-30, ε₂ = 1e-3.

use super::kept;
use burn::tensor::Tensor;

/// ε₁ and ε₂.
const EPS: [f64; 2] = [1e-30, 1e-3];
/// The exponent of the decay.
const DECAY_RATE: f64 = -0.8;
/// d, the largest root mean square of an update.
const CLIP_THRESHOLD: f64 = 1.0;

/// The scalars of an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdafactorRates {
    /// The number of this update, t.
    pub(super) updates: u32,
    /// The learning rate.
    pub(super) lr: f64,
    /// λ; 0 for parameters that do not decay.
    pub(super) weight_decay: f64,
    /// Whether the learning rate is scaled by the size of the parameter.
    pub(super) scale_parameter: bool,
}

impl AdafactorRates {
    fn beta(self) -> f64 {
        1.0 - f64::from(self.updates).powf(DECAY_RATE)
    }

    fn blend<const D: usize>(self, old: Tensor<D>, new: Tensor<D>) -> Tensor<D> {
        old * self.beta() + new * (1.0 - self.beta())
    }
}

/// The new value of a matrix, and the means of rows and columns.
///
/// # Shapes
/// `value` and `grad`: `[rows, columns]`; `means`: `[rows]` and `[columns]`; `factor`: `[1]`.
pub(super) fn update_matrix<const D: usize>(
    value: Tensor<D>,
    grad: Tensor<D>,
    factor: &Tensor<1>,
    means: [Tensor<1>; 2],
    rates: AdafactorRates,
) -> (Tensor<D>, [Tensor<1>; 2]) {
    let shape = grad.dims();
    let [rows, columns] = [shape[0], shape[1]];
    let grad = (grad * factor.clone().reshape([1; D])).reshape([rows, columns]);
    let squares = grad.clone().square() + EPS[0];
    let [of_rows, of_columns] = means.clone();
    let of_rows = rates.blend(of_rows, squares.clone().mean_dim(1).reshape([rows]));
    let of_columns = rates.blend(of_columns, squares.mean_dim(0).reshape([columns]));
    let by_row = (of_rows.clone() / of_rows.clone().mean()).sqrt().recip();
    let by_column = of_columns.clone().sqrt().recip();
    let update = grad * (by_row.reshape([rows, 1]) * by_column.reshape([1, columns])); // [rows, columns]
    let value = apply(value, update.reshape(shape), factor, rates);
    let [old_rows, old_columns] = means;
    let means = [
        kept(factor, of_rows, old_rows),
        kept(factor, of_columns, old_columns),
    ];
    (value, means)
}

/// The new value of a vector, and its second moment.
pub(super) fn update_vector<const D: usize>(
    value: Tensor<D>,
    grad: Tensor<D>,
    factor: &Tensor<1>,
    moment: Tensor<D>,
    rates: AdafactorRates,
) -> (Tensor<D>, Tensor<D>) {
    let grad = grad * factor.clone().reshape([1; D]);
    let new = rates.blend(moment.clone(), grad.clone().square() + EPS[0]);
    let update = grad / new.clone().sqrt();
    let value = apply(value, update, factor, rates);
    (value, kept(factor, new, moment))
}

/// Decay, and the update of bounded size.
fn apply<const D: usize>(
    value: Tensor<D>,
    update: Tensor<D>,
    factor: &Tensor<1>,
    rates: AdafactorRates,
) -> Tensor<D> {
    let over = (rms(update.clone()) / CLIP_THRESHOLD)
        .clamp_min(1.0)
        .reshape([1; D]);
    let mut lr = Tensor::<1>::full([1], rates.lr, &value.device());
    if rates.scale_parameter {
        lr = lr * rms(value.clone()).clamp_min(EPS[1]);
    }
    let lr = lr.reshape([1; D]);
    let decayed = value.clone() - value.clone() * (lr.clone() * rates.weight_decay);
    kept(factor, decayed - update / over * lr, value)
}

/// The root of the mean square, `[1]`.
fn rms<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    x.square().mean().sqrt()
}
