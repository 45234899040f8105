//! The feed-forward block, a gated unit.
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

/// The feed-forward block.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Gate projection.
    pub gate_proj: Linear,
    /// Up projection.
    pub up_proj: Linear,
    /// Down projection.
    pub down_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(config: &ModelConfig, name: &str, make: &mut Parameters<'_>) -> Self {
        let ModelConfig {
            hidden_size,
            intermediate_size,
            ..
        } = *config;
        let bias = Bias::from_flag(config.mlp_bias);
        let mut linear =
            |part: &str, shape: [usize; 2]| Linear::new(&format!("{name}.{part}"), shape, bias, make);
        Self {
            gate_proj: linear("gate_proj", [intermediate_size, hidden_size]),
            up_proj: linear("up_proj", [intermediate_size, hidden_size]),
            down_proj: linear("down_proj", [hidden_size, intermediate_size]),
            activation: config.hidden_act,
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = shared_factor(x, [&self.gate_proj, &self.up_proj]);
        let (device, for_gate) = (x.device(), x.clone());
        let gate = || self.gate_proj.forward(for_gate);
        let up = || self.up_proj.forward(x);
        let (gate, up) = fused::both(&device, gate, up); // each [batch, seq, intermediate]
        // What stands between two products is needed as their factor only.
        let layers = [&self.gate_proj, &self.up_proj, &self.down_proj];
        let precision = if layers.into_iter().all(Linear::is_product) {
            self.down_proj.precision
        } else {
            Precision::F32
        };
        self.down_proj
            .forward(fused::gated(self.activation, gate, up, precision))
    }
}
