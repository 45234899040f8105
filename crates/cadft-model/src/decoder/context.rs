//! What every block of one forward pass shares: rotary tables of the positions, and the attention mask.

use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::Packing;
use crate::cache::KvCache;
use crate::config::ModelConfig;

/// Rotary frequencies, one for each pair of dimensions of a head, in radians a position.
#[derive(Clone, Debug)]
pub struct Rope {
    frequencies: Vec<f64>,
}

impl Rope {
    /// The frequencies `θ^(−2i / head_dim)`, scaled as the configuration says.
    ///
    /// # Examples
    ///
    /// ```
    /// use cadft_model::{ModelConfig, decoder::Rope};
    /// let config = ModelConfig::from_json(
    ///     r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 8,
    ///         "num_hidden_layers": 1, "num_attention_heads": 1}"#,
    /// )?;
    /// assert_eq!(Rope::new(&config).frequencies(), [1.0, 0.01]);
    /// # Ok::<(), cadft_model::ModelError>(())
    /// ```
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let pairs = config.head_dim / 2;
        let frequency = |pair: usize| config.rope_theta.powf(-(pair as f64) / pairs as f64);
        let frequencies = (0..pairs)
            .map(|pair| config.rope_scaling.scale(frequency(pair)))
            .collect();
        Self { frequencies }
    }

    /// The frequencies, fastest first.
    #[must_use]
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }
}

/// Rotary tables and mask of one forward pass.
pub(crate) struct Context {
    /// Cosines and sines, each `[batch or 1, 1, seq, head_dim / 2]`.
    pub(crate) tables: (Tensor<4>, Tensor<4>),
    /// `true` where a key may not be attended to; none where every key may, and without a cache, where attention is
    /// plainly causal. `[batch or 1, 1, 1, seq, keys]`.
    pub(crate) is_hidden: Option<Tensor<5, Bool>>,
}

impl Context {
    /// The context of `seq` tokens that follow those in `cache`.
    pub(crate) fn new(rope: &Rope, seq: usize, cache: Option<&KvCache>, device: &Device) -> Self {
        let Some(cache) = cache else {
            return Self {
                tables: rotary_tables(rope, 0..seq, [1, seq], device),
                is_hidden: None,
            };
        };
        let (positions, padding) = (cache.len()..cache.len() + seq, cache.shared_left_padding());
        let unrestricted = seq == 1 && padding.iter().all(|&padding| padding == 0);
        let counted = padding
            .iter()
            .flat_map(|&padding| positions.clone().map(move |index| index.saturating_sub(padding)));
        Self {
            tables: rotary_tables(rope, counted, [padding.len(), seq], device),
            is_hidden: (!unrestricted).then(|| hidden_keys(positions, padding, device)),
        }
    }

    /// The context of rows that hold several samples each.
    pub(crate) fn packed(rope: &Rope, seq: usize, packing: &Packing, device: &Device) -> Self {
        let starts = packing.starts(seq);
        let rows = starts.len() / seq.max(1);
        let positions = starts
            .iter()
            .enumerate()
            .map(|(index, start)| index % seq - start);
        let mut hidden = Vec::with_capacity(starts.len() * seq);
        for (index, &start) in starts.iter().enumerate() {
            let query = index % seq;
            hidden.extend((0..seq).map(|key| key > query || key < start));
        }
        Self {
            tables: rotary_tables(rope, positions, [rows, seq], device),
            is_hidden: Some(Tensor::from_data(
                TensorData::new(hidden, [rows, 1, 1, seq, seq]),
                device,
            )),
        }
    }

    /// The tables of a batch whose sequences all start at position 0, each `[seq, head_dim / 2]`.
    pub(crate) fn shared_tables(&self) -> (Tensor<2>, Tensor<2>) {
        let (cos, sin) = &self.tables;
        let [_, _, seq, pairs] = cos.dims();
        (
            cos.clone().reshape([seq, pairs]),
            sin.clone().reshape([seq, pairs]),
        )
    }
}

/// Cosines and sines, computed in f64, of the positions of all rows.
fn rotary_tables(
    rope: &Rope,
    positions: impl Iterator<Item = usize>,
    [rows, seq]: [usize; 2],
    device: &Device,
) -> (Tensor<4>, Tensor<4>) {
    let pairs = rope.frequencies.len();
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in positions {
        for frequency in &rope.frequencies {
            let (sine, cosine) = (position as f64 * frequency).sin_cos();
            cos.push(cosine as f32);
            sin.push(sine as f32);
        }
    }
    let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [rows, 1, seq, pairs]), device);
    (table(cos), table(sin))
}

/// Hides keys after the query, and keys in the padding on the left.
fn hidden_keys(positions: Range<usize>, padding: &[usize], device: &Device) -> Tensor<5, Bool> {
    let (seq, keys) = (positions.len(), positions.end);
    let mut hidden = Vec::with_capacity(padding.len() * seq * keys);
    for &padding in padding {
        for query in positions.clone() {
            hidden.extend((0..keys).map(|key| key > query || key < padding));
        }
    }
    Tensor::from_data(TensorData::new(hidden, [padding.len(), 1, 1, seq, keys]), device)
}
