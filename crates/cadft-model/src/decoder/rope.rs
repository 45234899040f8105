//! Rotary embeddings: frequencies from the configuration, and cosines and sines of positions.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{LayerAttention, ModelConfig, Positions, RopeScaling};
use crate::fused::Rotation;

/// Reorders the first `dims` dimensions of every head: first the even ones, then the odd ones. Neighbours are then half
/// of `dims` apart.
///
/// # Shapes
/// - `x`, output: `[batch, seq, heads * head_dim]`
pub(super) fn halves(x: Tensor<3>, head_dim: usize, dims: usize) -> Tensor<3> {
    let [batch, seq, width] = x.dims();
    let rows = batch * seq * width / head_dim;
    let x = x.reshape([rows, head_dim]);
    let rotated = x.clone().slice_dim(1, 0..dims);
    let rotated = rotated
        .reshape([rows, dims / 2, 2])
        .swap_dims(1, 2)
        .reshape([rows, dims]);
    let x = if dims == head_dim {
        rotated
    } else {
        Tensor::cat(vec![rotated, x.slice_dim(1, dims..head_dim)], 1)
    };
    x.reshape([batch, seq, width])
}

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
            scaling: config.rope_scaling.clone(),
            pairs: config.rotary_dims / 2,
        }
    }

    /// The frequencies of sliding blocks with a separate base (Gemma 3 and 4, `OLMo` 3); they turn whole heads.
    #[must_use]
    pub fn local(config: &ModelConfig) -> Self {
        let is_local = |layer: &&LayerAttention| layer.positions == Positions::LocalRotary;
        let head_dim = config.layers.iter().find(is_local).map(|layer| layer.head_dim);
        Self {
            theta: config.rope_local_base_freq,
            scaling: RopeScaling::Default,
            pairs: head_dim.unwrap_or(config.rotary_dims) / 2,
        }
    }

    /// Largest number of positions in a key cache, if it is limited.
    pub(super) fn cached_positions(&self) -> Option<usize> {
        self.scaling.cached_positions()
    }

    /// The frequencies in radians per position, highest first, for sequences of at most `length` positions.
    #[must_use]
    pub fn frequencies(&self, length: usize) -> Vec<f64> {
        self.scaling.frequencies(self.theta, self.pairs, length)
    }

    /// Cosines and sines of the positions of `rows` rows, stored one after the other, computed in f64.
    ///
    /// If frequencies depend on the length of a sequence, each row has separate ones.
    pub(crate) fn rotation(&self, positions: &[usize], rows: usize, device: &Device) -> Rotation {
        let factor = self.scaling.attention_factor();
        let seq = positions.len() / rows;
        let mut tables = [vec![], vec![]];
        for row in positions.chunks(seq.max(1)) {
            let length = row.iter().max().map_or(0, |last| last + 1);
            let frequencies = self.frequencies(length);
            for &position in row {
                for frequency in &frequencies {
                    let (sine, cosine) = (position as f64 * frequency).sin_cos();
                    tables[0].push((factor * cosine) as f32);
                    tables[1].push((factor * sine) as f32);
                }
            }
        }
        let [cos, sin] =
            tables.map(|values| Tensor::from_data(TensorData::new(values, [rows, seq, self.pairs]), device));
        Rotation { cos, sin }
    }
}
