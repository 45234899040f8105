//! Root-mean-square normalisation.
//!
//! ```text
//! y = w · x / √(mean(x²) + ε)
//! ```

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::config::ModelConfig;
use crate::fused;
use crate::parameters::Parameters;

/// RMS norm over the last dimension.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[hidden]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    pub(crate) fn new(name: &str, config: &ModelConfig, make: &mut Parameters<'_>) -> Self {
        let weight = make.param(&format!("{name}.weight"), [config.hidden_size]);
        Self {
            weight,
            epsilon: config.rms_norm_eps,
        }
    }

    /// Normalises the last dimension.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        fused::rms_norm(x, self.weight.val(), self.epsilon)
    }
}
