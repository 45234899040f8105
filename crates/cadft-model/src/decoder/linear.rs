//! `y = x Wᵀ + b` with the weight in Hugging Face's layout, plus the update of an adapter if there is one.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};

use super::precision::Precision;
use super::{LowRank, Weight};
use crate::fused;
use crate::parameters::Parameters;

/// A linear layer. Its weight is `[output, input]`, so that checkpoints are read and written without transposing.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[output, input]`.
    pub weight: Weight,
    /// `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The update of an adapter, if there is one.
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
        let weight = Weight::new(name, shape, make);
        let [output, _] = shape;
        let bias = (bias == Bias::Present).then(|| make.param(&format!("{name}.bias"), [output]));
        Self {
            weight,
            bias,
            adapter: None,
            precision: Precision::F32,
        }
    }

    /// Whether the layer is a plain product, without bias and adapter.
    pub(crate) fn is_product(&self) -> bool {
        self.bias.is_none() && self.adapter.is_none()
    }

    /// Whether the input is used only as a bf16 factor of products.
    fn takes_factors(&self) -> bool {
        let has_dropout = self.adapter.as_ref().is_some_and(LowRank::has_dropout);
        self.precision == Precision::Bf16 && !has_dropout
    }

    /// Applies the layer to the last dimension.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: `[batch, seq, output]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = match &self.adapter {
            Some(adapter) => {
                let y = self.weight.project(x.clone(), self.precision);
                adapter.update(x, y, &self.weight, self.precision)
            }
            None => self.weight.project(x, self.precision),
        };
        match &self.bias {
            Some(bias) => {
                let [batch, seq, output] = y.dims();
                let y = y.reshape([batch * seq, output]);
                fused::add_bias(y, bias.val()).reshape([batch, seq, output])
            }
            None => y,
        }
    }
}

/// The common input of several layers, rounded once for all if they all multiply in bf16.
pub(super) fn shared_factor<const N: usize>(x: Tensor<3>, layers: [&Linear; N]) -> Tensor<3> {
    if layers.into_iter().all(Linear::takes_factors) {
        x.cast(DType::BF16)
    } else {
        x
    }
}
