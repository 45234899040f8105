//! Muon: momentum, made orthogonal. For matrices of hidden layers.
//!
//! ```text
//! B ← μ·B + (1−μ)·G              U = (1−μ)·G + μ·B            Nesterov's momentum
//! X₀ = U/‖U‖                     of the transpose, if U has more rows than columns
//! X ← a·X + (b·A + c·A²)·X       A = X Xᵀ, five times         Newton–Schulz: singular values to about 1
//! θ ← (1−η·λ)·θ − η·s·X          s = √max(1, rows/columns), or 0.2·√max(rows, columns)
//! ```
//!
//! Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024), as `torch.optim.Muon`; the second `s` is that of
//! Liu et al., Muon is Scalable for LLM Training (arXiv 2502.16982): an update then has the size of one of `AdamW`.
//!
//! Deviation: the iteration is in f32. `PyTorch` rounds it to bf16, which its authors chose for its speed on GPUs.

use super::kept;
use burn::tensor::Tensor;
use cadft_kernels::matmul;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Coefficients of the iteration.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Number of iterations.
const ITERATIONS: usize = 5;
/// The least norm that is divided by.
const SMALLEST: f64 = 1e-7;

/// How the learning rate of a matrix depends on its shape, under Muon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdjustLr {
    /// `0.2·√max(rows, columns)`: updates are as large as those of AdamW, so that its learning rates fit.
    #[default]
    MatchRmsAdamw,
    /// `√max(1, rows/columns)`, as Muon was published.
    Original,
}

impl AdjustLr {
    /// The factor of the learning rate.
    pub(super) fn factor(self, [rows, columns]: [usize; 2]) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self {
            Self::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
            Self::Original => (rows / columns).max(1.0).sqrt(),
        }
    }
}

/// The scalars of an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct MuonRates {
    /// μ.
    pub(super) momentum: f64,
    /// η·s.
    pub(super) lr: f64,
    /// 1−η·λ.
    pub(super) keep: f64,
}

/// The new value and momentum of a matrix.
///
/// # Shapes
/// `value`, `grad` and `buffer`: `[rows, columns]`; `factor`: `[1]`.
pub(super) fn update<const D: usize>(
    value: Tensor<D>,
    grad: Tensor<D>,
    factor: &Tensor<1>,
    buffer: Tensor<D>,
    rates: MuonRates,
) -> (Tensor<D>, Tensor<D>) {
    let MuonRates { momentum, lr, keep } = rates;
    let grad = grad * factor.clone().reshape([1; D]);
    let blend = |x: Tensor<D>, y: Tensor<D>| x * momentum + y * (1.0 - momentum);
    let new = blend(buffer.clone(), grad.clone());
    let shape = grad.dims();
    let direction = blend(new.clone(), grad);
    let update = orthogonal(direction.reshape([shape[0], shape[1]])).reshape(shape);
    let updated = value.clone() * keep - update * lr;
    (kept(factor, updated, value), kept(factor, new, buffer))
}

/// A matrix with the singular vectors of `x` and singular values near 1.
fn orthogonal(x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    let x = if rows > columns { x.transpose() } else { x }; // [less, more]
    let norm = x.clone().square().sum().sqrt().clamp_min(SMALLEST);
    let mut x = x / norm.reshape([1, 1]);
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = matmul(x.clone(), x.clone().transpose()); // [less, less]
        let polynomial = gram.clone() * b + matmul(gram.clone(), gram) * c;
        x = x.clone() * a + matmul(polynomial, x);
    }
    if rows > columns { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn singular_values_come_near_1() {
        let device = Device::default();
        for shape in [[6, 40], [40, 6]] {
            let x = Tensor::<2>::random(shape, Distribution::Normal(0.0, 3.0), &device);
            let x = orthogonal(x);
            assert_eq!(x.dims(), shape);
            let wide = if shape[0] > shape[1] { x.transpose() } else { x };
            let gram: Vec<f32> = matmul(wide.clone(), wide.transpose())
                .into_data()
                .iter()
                .collect();
            for row in 0..6 {
                let square = gram[row * 6 + row];
                assert!((0.3..1.7).contains(&square), "{square}");
            }
        }
    }
}
