//! What the inputs of the blocks of Gemma 4 take, for the estimate of memory.

use cadft_model::ModelConfig;

/// Numbers of the inputs of the blocks; 0 in other families.
pub(super) struct Inputs {
    /// For each token of a block: its gate, its gated input, and the projection before and after its norm.
    pub(super) of_block: f64,
    /// For each token: the projection of all blocks, its norm, the second embedding, and their sum before and after its factor.
    pub(super) of_model: f64,
    /// The second embedding.
    pub(super) embedding: f64,
}

impl Inputs {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let Some(inputs) = config.per_layer_inputs() else {
            return Self {
                of_block: 0.0,
                of_model: 0.0,
                embedding: 0.0,
            };
        };
        let width = inputs.hidden_size_per_layer_input as f64;
        let whole = config.num_hidden_layers as f64 * width;
        Self {
            of_block: 2.0 * width + 2.0 * config.hidden_size as f64,
            of_model: 5.0 * whole,
            embedding: inputs.vocab_size_per_layer_input as f64 * whole,
        }
    }
}
