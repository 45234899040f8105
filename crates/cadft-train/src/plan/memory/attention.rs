//! Activations of attention, full or linear, for the estimate of memory.

use cadft_model::ModelConfig;
use cadft_model::config::{LayerAttention, Norms, QueryKeyNorm};

/// Numbers for each token of a block's attention, on average over the blocks.
pub(super) struct Attention {
    /// The inputs of its linear layers.
    pub(super) inputs: f64,
    /// What is kept besides them.
    pub(super) kept: f64,
}

impl Attention {
    /// The mean over the blocks, with `scored` scores kept of each head.
    pub(super) fn mean(config: &ModelConfig, scored: usize) -> Self {
        let hidden = config.hidden_size as f64;
        let layers = config.layers.len() as f64;
        let sum = |width: fn(&LayerAttention) -> usize| config.layers.iter().map(width).sum::<usize>() as f64;
        let query = config.num_attention_heads as f64 * sum(|layer| layer.head_dim) / layers;
        let key = sum(LayerAttention::key_width) / layers;
        let head_norms = match config.qk_norm {
            QueryKeyNorm::Absent => 0.0,
            // Values have a norm, too.
            _ if config.norms == Norms::Gemma4 => query + 2.0 * key,
            _ => query + key,
        };
        // Query, output, key and value of all heads; one number for each head.
        let projected = 2.0 * query + 2.0 * key + config.num_attention_heads as f64;
        // The gate, its sigmoid, and the output before it.
        let gate = if config.attention_gate { 3.0 * query } else { 0.0 };
        let scores = super::SCORES * (config.num_attention_heads * scored) as f64;
        let full = Self {
            inputs: hidden + query,
            kept: head_norms + projected + gate + scores,
        };
        let Some(linear) = &config.linear_attention else {
            return full;
        };
        let (keys, values) = (linear.key_width() as f64, linear.value_width() as f64);
        // The convolution's input and output; queries and keys as unit vectors; the output, its norm and its gate; and decay and
        // β with what they are made of.
        let kept = 2.0 * linear.channels() as f64
            + 2.0 * keys
            + 3.0 * values
            + 8.0 * linear.linear_num_value_heads as f64;
        let recurrent = linear.blocks() as f64 / linear.linear.len() as f64;
        let mean = |of_full: f64, of_linear: f64| (1.0 - recurrent) * of_full + recurrent * of_linear;
        Self {
            inputs: mean(full.inputs, hidden + values),
            kept: mean(full.kept, kept),
        }
    }
}

/// Width of the keys of a position in all blocks that keep them for later tokens.
pub(super) fn cached_width(config: &ModelConfig) -> usize {
    let linear = config.linear_attention.as_ref();
    let is_linear = |index: usize| linear.is_some_and(|linear| linear.linear[index]);
    let layers = config.layers.iter().enumerate();
    layers
        .filter(|(index, layer)| !is_linear(*index) && layer.key_source().is_none())
        .map(|(_, layer)| layer.key_width())
        .sum()
}
