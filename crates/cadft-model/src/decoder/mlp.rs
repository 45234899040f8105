//! The dense feed-forward block, and an expert: a gated unit.
//!
//! ```text
//! y = W_down (activation(W_gate x) · W_up x)
//! ```

use burn::module::Module;
use burn::tensor::Tensor;

use super::Precision;
use super::linear::{Bias, Linear, shared_factor};
use crate::config::ModelConfig;
use crate::fused::{self, Activation};
use crate::parameters::Parameters;

/// The dense feed-forward block, or one expert.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Gate projection.
    pub gate_proj: Option<Linear>,
    /// Up projection.
    pub up_proj: Option<Linear>,
    /// Fused gate and up projection, which replaces the two.
    pub gate_up_proj: Option<Linear>,
    /// Down projection.
    pub down_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// The block with `width` units.
    pub(crate) fn new(config: &ModelConfig, width: usize, name: &str, make: &mut Parameters<'_>) -> Self {
        let hidden_size = config.hidden_size;
        let bias = Bias::from_flag(config.mlp_bias);
        let mut linear =
            |part: &str, shape: [usize; 2]| Linear::new(&format!("{name}.{part}"), shape, bias, make);
        let fused = config.fused.gate_up();
        let mut input = |part: &str, parts: usize, exists: bool| {
            exists.then(|| linear(part, [parts * width, hidden_size]))
        };
        Self {
            gate_proj: input("gate_proj", 1, !fused),
            up_proj: input("up_proj", 1, !fused),
            gate_up_proj: input("gate_up_proj", 2, fused),
            down_proj: linear("down_proj", [hidden_size, width]),
            activation: config.hidden_act,
        }
    }

    /// The projections that the block has, by name.
    pub(crate) fn linears(&self) -> impl Iterator<Item = (&'static str, &Linear)> {
        let parts = [
            ("gate_proj", self.gate_proj.as_ref()),
            ("up_proj", self.up_proj.as_ref()),
            ("gate_up_proj", self.gate_up_proj.as_ref()),
            ("down_proj", Some(&self.down_proj)),
        ];
        (parts.into_iter()).filter_map(|(name, linear)| Some((name, linear?)))
    }

    /// As [`Mlp::linears`], to change them.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Linear)> {
        let parts = [
            ("gate_proj", self.gate_proj.as_mut()),
            ("up_proj", self.up_proj.as_mut()),
            ("gate_up_proj", self.gate_up_proj.as_mut()),
            ("down_proj", Some(&mut self.down_proj)),
        ];
        (parts.into_iter()).filter_map(|(name, linear)| Some((name, linear?)))
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    ///
    /// # Panics
    /// If the block has neither separate gate and up projections nor the fused one.
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let ([gate, up], are_products) = self.gate_and_up(x); // each [batch, seq, intermediate]
        // The gated value is used only as a factor of the next product, so it may be rounded here.
        let precision = if are_products && self.down_proj.is_product() {
            self.down_proj.precision
        } else {
            Precision::F32
        };
        self.down_proj
            .forward(fused::gated(self.activation, gate, up, precision))
    }

    /// Gate and up, and whether both are plain products.
    fn gate_and_up(&self, x: Tensor<3>) -> ([Tensor<3>; 2], bool) {
        if let Some(gate_up) = &self.gate_up_proj {
            let y = gate_up.forward(x);
            let [_, _, width] = y.dims();
            return ([0, 1].map(|part| cut(&y, part * width / 2, width / 2)), false);
        }
        let (Some(gate), Some(up)) = (&self.gate_proj, &self.up_proj) else {
            panic!("a feed-forward block has gate and up projections, or one matrix");
        };
        let x = shared_factor(x, [gate, up]);
        let (device, for_gate) = (x.device(), x.clone());
        let (gated, upped) = fused::both(&device, || gate.forward(for_gate), || up.forward(x));
        ([gated, upped], gate.is_product() && up.is_product())
    }
}

/// Elements `start..start + width` of the last dimension.
pub(super) fn cut(x: &Tensor<3>, start: usize, width: usize) -> Tensor<3> {
    x.clone().slice_dim(2, start..start + width)
}
