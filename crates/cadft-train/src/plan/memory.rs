//! An estimate of the memory that training takes, from shapes alone.
//!
//! ```text
//! held          4 P weights + 8 T moments + 4 T gradients
//! + largest of  activations of a micro-batch + one chunk of logits        while the backward pass begins
//!               4 T gradients of a micro-batch                            when it ends and they are added
//!               a few copies of the largest tensor                        while weights are updated
//! ```
//!
//! `P` parameters, `T` of them trained. Activations are what the decoder's operations keep on the Flex backend; other
//! backends keep more.

use crate::config::{Recipe, Recompute};
use cadft_model::ModelConfig;
use cadft_model::parameters::expected_parameters;

/// The program itself with its tokenizer and data, in bytes.
const PROGRAM: f64 = 48.0 * MIB;
const MIB: f64 = 1_048_576.0;
const F32: f64 = 4.0;
/// Elements of a chunk of logits and of its gradient.
const LOGITS: f64 = 2.0 * 16_777_216.0;

/// What the memory of training depends on besides the model.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings {
    /// Parameters that are trained.
    pub trainable: usize,
    /// Those of an adapter, which the model itself does not have.
    pub added: usize,
    /// Tokens of one micro-batch, padding included.
    pub tokens: usize,
    /// Whether activations are kept.
    pub recompute: Recompute,
}

impl MemorySettings {
    /// Those of a recipe whose longest sample has `longest` tokens; `trainable` where not all parameters are trained.
    pub(crate) fn of(recipe: &Recipe, parameters: usize, trainable: Option<usize>, longest: usize) -> Self {
        let rows = recipe.batch.micro.min(recipe.batch.global);
        Self {
            trainable: trainable.unwrap_or(parameters),
            added: trainable.unwrap_or(0),
            tokens: (recipe.batch.max_tokens).map_or(rows * longest, |most| most.max(longest)),
            recompute: recipe.model.recompute,
        }
    }
}

/// The largest resident memory of training, in MiB.
#[must_use]
pub fn training_mib(config: &ModelConfig, settings: &MemorySettings) -> f64 {
    let shapes = expected_parameters(config);
    let sizes = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>());
    let (mut parameters, mut largest) = (settings.added as f64, 0.0f64);
    for size in sizes {
        parameters += size as f64;
        largest = largest.max(size as f64);
    }
    let trainable = settings.trainable as f64;
    let tokens = settings.tokens as f64;
    let (hidden, layers) = (config.hidden_size as f64, config.num_hidden_layers as f64);
    let block = tokens * block_width(config);
    let activations = match settings.recompute {
        Recompute::None => layers * block,
        Recompute::Blocks => layers * tokens * hidden + block,
    };
    let logits = LOGITS.min(2.0 * tokens * config.vocab_size as f64);
    let peak = (activations + logits)
        .max(trainable)
        .max(4.0 * largest.min(trainable));
    let elements = parameters + 3.0 * trainable + peak;
    (PROGRAM + F32 * elements) / MIB
}

/// Elements for each token that one block keeps for its backward pass.
fn block_width(config: &ModelConfig) -> f64 {
    let width = |heads: usize| (heads * config.head_dim) as f64;
    let (query, key) = (
        width(config.num_attention_heads),
        width(config.num_key_value_heads),
    );
    // Input and output of both norms; query, key, value and output of attention; gate, up and their product.
    4.0 * config.hidden_size as f64 + 2.0 * (query + key) + 3.0 * config.intermediate_size as f64
}
