//! `y = x Wᵀ + b` with the weight in the Hugging Face layout, and the update of an adapter where there is one.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::LowRank;
use super::precision::{Precision, project};
use crate::parameters::Parameters;

/// A linear layer that keeps its weight as `[output, input]`, so that reading and writing checkpoints copies bytes.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[output, input]`.
    pub weight: Param<Tensor<2>>,
    /// `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The update of an adapter.
    pub adapter: Option<LowRank>,
    #[module(skip)]
    pub(crate) precision: Precision,
}

/// Whether a linear layer has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    Present,
    Absent,
}

impl Bias {
    pub(crate) fn from_flag(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

impl Linear {
    pub(crate) fn new(name: &str, shape: [usize; 2], bias: Bias, make: &mut Parameters<'_>) -> Self {
        let weight = make.param(&format!("{name}.weight"), shape);
        let [output, _] = shape;
        let bias = (bias == Bias::Present).then(|| make.param(&format!("{name}.bias"), [output]));
        Self {
            weight,
            bias,
            adapter: None,
            precision: Precision::F32,
        }
    }

    /// Applies the layer to the last dimension.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: `[batch, seq, output]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val();
        let y = match &self.adapter {
            Some(adapter) => {
                let y = project(x.clone(), weight.clone(), self.precision);
                adapter.update(x, y, &weight, self.precision)
            }
            None => project(x, weight, self.precision),
        };
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}
