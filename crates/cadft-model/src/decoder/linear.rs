//! `y = x Wᵀ + b` with the weight in the Hugging Face layout.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused;
use crate::parameters::Parameters;

/// A linear layer that keeps its weight as `[output, input]`, so that reading and writing checkpoints copies bytes.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[output, input]`.
    pub weight: Param<Tensor<2>>,
    /// `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
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
        Self { weight, bias }
    }

    /// Applies the layer to the last dimension.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: `[batch, seq, output]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = project(x, self.weight.val());
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}

/// `x Wᵀ`: one matrix product over all positions.
pub(crate) fn project(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, seq, input] = x.dims();
    let [output, _] = weight.dims();
    let y = fused::linear(x.reshape([batch * seq, input]), weight); // [batch * seq, output]
    y.reshape([batch, seq, output])
}
