//! Activations of a feed-forward block, dense or with experts, for the estimate of memory.

use cadft_model::ModelConfig;
use std::collections::BTreeMap;

/// Numbers for each token of a feed-forward block.
pub(super) struct FeedForward {
    /// The inputs of its linear layers.
    pub(super) inputs: f64,
    /// What is kept besides them.
    pub(super) kept: f64,
    /// Its gradients.
    pub(super) gradients: f64,
}

impl FeedForward {
    /// Those of the larger kind of block, if some are dense and some are sparse.
    pub(super) fn largest(config: &ModelConfig) -> Self {
        let widths = (0..config.num_hidden_layers).map(|index| config.intermediate_size_of(index));
        let hidden = config.hidden_size as f64;
        let width = widths.max().unwrap_or(config.intermediate_size) as f64;
        let dense = Self {
            inputs: hidden + width,
            kept: 2.0 * width,
            gradients: 3.0 * width,
        };
        let Some(experts) = &config.experts else {
            return dense;
        };
        let (active, width) = (
            experts.num_experts_per_tok as f64,
            experts.moe_intermediate_size as f64,
        );
        let sparse = Self {
            inputs: hidden + active * (hidden + width),
            // Gate and up, the outputs of the experts, and logits and probabilities of the router.
            kept: active * (2.0 * width + hidden) + 2.0 * experts.num_experts as f64,
            gradients: active * (2.0 * hidden + 3.0 * width),
        };
        let is_dense_larger = experts.sparse_blocks() < experts.sparse.len()
            && dense.inputs + dense.kept > sparse.inputs + sparse.kept;
        if is_dense_larger { dense } else { sparse }
    }
}

/// The number of parameters of the block that has most, from all names and sizes.
pub(super) fn largest_block<'a>(parameters: impl Iterator<Item = (&'a str, f64)>) -> f64 {
    let mut blocks = BTreeMap::<&str, f64>::new();
    for (name, size) in parameters {
        let block = (name.strip_prefix("model.layers.")).and_then(|rest| rest.split_once('.'));
        if let Some((block, _)) = block {
            *blocks.entry(block).or_default() += size;
        }
    }
    blocks.into_values().fold(0.0, f64::max)
}
