//! Rotary embeddings: frequencies from the configuration, cosines and sines of positions.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{ModelConfig, RopeScaling};
use crate::fused::Rotation;

/// One set of rotary frequencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    theta: f64,
    scaling: RopeScaling,
    pairs: usize,
}

impl Rope {
    /// The frequencies of full-attention blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// use cadft_model::{ModelConfig, decoder::Rope};
    /// let config = ModelConfig::from_json(
    ///     r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 8,
    ///         "num_hidden_layers": 1, "num_attention_heads": 1}"#,
    /// )?;
    /// assert_eq!(Rope::new(&config).frequencies(10), [1.0, 0.01]);
    /// # Ok::<(), cadft_model::ModelError>(())
    /// ```
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            theta: config.rope_theta,
            scaling: config.rope_scaling,
            pairs: config.head_dim / 2,
        }
    }

    /// The frequencies of sliding blocks that have their own base (Gemma 3).
    #[must_use]
    pub fn local(config: &ModelConfig) -> Self {
        Self {
            theta: config.rope_local_base_freq,
            scaling: RopeScaling::Default,
            pairs: config.head_dim / 2,
        }
    }

    /// The frequencies in radians a position, fastest first, for sequences of at most `length` positions.
    #[must_use]
    pub fn frequencies(&self, length: usize) -> Vec<f64> {
        self.scaling.frequencies(self.theta, self.pairs, length)
    }

    /// Cosines and sines, computed in f64, of the positions of `rows` rows, one after the other.
    pub(crate) fn rotation(&self, positions: &[usize], rows: usize, device: &Device) -> Rotation {
        let length = positions.iter().max().map_or(0, |last| last + 1);
        let frequencies = self.frequencies(length);
        let factor = self.scaling.attention_factor();
        let angles = || {
            positions.iter().flat_map(|&position| {
                frequencies
                    .iter()
                    .map(move |frequency| position as f64 * frequency)
            })
        };
        let shape = [rows, positions.len() / rows, self.pairs];
        let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), device);
        Rotation {
            cos: table(angles().map(|angle| (factor * angle.cos()) as f32).collect()),
            sin: table(angles().map(|angle| (factor * angle.sin()) as f32).collect()),
        }
    }
}
