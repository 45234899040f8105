//! Root-mean-square normalisation.
//!
//! ```text
//! y = w · x / √(mean(x²) + ε)
//! ```
//!
//! Checkpoints of Gemma 2 and 3 and of Qwen3.5 store w − 1.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::config::ModelConfig;
use crate::fused;
use crate::parameters::Parameters;

/// RMS norm over the last dimension.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[size]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
    /// Added to the weight: 1 for Gemma 2 and 3 and for Qwen3.5, otherwise 0.
    offset: f64,
    /// Factor of the output.
    scale: f64,
}

impl RmsNorm {
    pub(crate) fn new(name: &str, size: usize, config: &ModelConfig, make: &mut Parameters<'_>) -> Self {
        let weight = make.param(&format!("{name}.weight"), [size]);
        Self {
            weight,
            epsilon: config.rms_norm_eps,
            offset: config.norms.offset(),
            scale: 1.0,
        }
    }

    /// The norm whose factor is its weight, whatever that of the model's other norms is.
    pub(crate) fn without_offset(self) -> Self {
        Self { offset: 0.0, ..self }
    }

    /// The norm with its output multiplied by `scale`.
    pub(crate) fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// Normalises the last dimension.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, size]`
    /// - output: `[batch, seq, size]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val();
        let weight = if self.offset == 0.0 {
            weight
        } else {
            weight + self.offset
        };
        let weight = if self.scale == 1.0 {
            weight
        } else {
            weight * self.scale
        };
        fused::rms_norm(x, weight, self.epsilon)
    }
}
