//! The feed-forward block of Granite 4 with its names there: the shared block beside the experts.
//!
//! ```text
//! [g, u] = W_in x,   y = W_out (activation(g) · u)
//! ```

use burn::module::Module;
use burn::tensor::Tensor;

use super::Precision;
use super::linear::{Bias, Linear};
use super::mlp::cut;
use crate::config::ModelConfig;
use crate::fused::{self, Activation};
use crate::parameters::Parameters;

/// The feed-forward block of Granite 4.
#[derive(Module, Debug)]
pub struct SharedMlp {
    /// Fused gate and up projection.
    pub input_linear: Linear,
    /// Down projection.
    pub output_linear: Linear,
    #[module(skip)]
    activation: Activation,
}

impl SharedMlp {
    pub(crate) fn new(config: &ModelConfig, name: &str, make: &mut Parameters<'_>) -> Self {
        let ModelConfig {
            hidden_size,
            intermediate_size,
            ..
        } = *config;
        let mut linear =
            |part: &str, shape: [usize; 2]| Linear::new(&format!("{name}.{part}"), shape, Bias::Absent, make);
        Self {
            input_linear: linear("input_linear", [2 * intermediate_size, hidden_size]),
            output_linear: linear("output_linear", [hidden_size, intermediate_size]),
            activation: config.hidden_act,
        }
    }

    /// The projections, by name.
    pub(crate) fn linears(&self) -> [(&'static str, &Linear); 2] {
        [
            ("input_linear", &self.input_linear),
            ("output_linear", &self.output_linear),
        ]
    }

    /// As [`SharedMlp::linears`], to change them.
    pub(crate) fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 2] {
        [
            ("input_linear", &mut self.input_linear),
            ("output_linear", &mut self.output_linear),
        ]
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = self.input_linear.forward(x);
        let [_, _, width] = y.dims();
        let [gate, up] = [0, 1].map(|part| cut(&y, part * width / 2, width / 2)); // each [batch, seq, intermediate]
        self.output_linear
            .forward(fused::gated(self.activation, gate, up, Precision::F32))
    }
}
