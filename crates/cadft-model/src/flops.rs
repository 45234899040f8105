//! Floating-point operations of a decoder: products with weights, and those of attention.
//!
//! ```text
//! forward, per token     2·(weights of all matrices that multiply a token) + 2·2·heads·head_dim·layers·(context + 1)/2
//! linear attention       2·3·value_heads·value_dim·key_dim·layers instead: the memory is read twice and written once
//! training, per token    3 times that: two products backward for each forward
//! ```
//!
//! A matrix product counts two operations for each multiplication and addition (Kaplan et al. 2020, arXiv 2001.08361,
//! section 2.1). Norms, rotations and softmax are not counted. The output weight is a product; the embedding is a
//! lookup and counts nothing. Of the experts of a sparse block, only those of a token multiply it.

use crate::config::{Experts, LinearAttention, ModelConfig};
use crate::parameters::{expected_parameters, is_embedding, is_of_experts};

/// Operations of a forward pass per token, averaged over a sequence of `context` tokens.
///
/// # Examples
///
/// ```
/// let config = cadft_model::ModelConfig::from_json(
///     r#"{"model_type": "llama", "vocab_size": 10, "hidden_size": 4, "intermediate_size": 8,
///         "num_hidden_layers": 1, "num_attention_heads": 1, "tie_word_embeddings": true}"#,
/// )?;
/// // Four projections 4 × 4, three 4 × 8, the output weight 10 × 4; one token attends to itself.
/// assert_eq!(cadft_model::flops::forward(&config, 1), 2.0 * (4.0 * 16.0 + 3.0 * 32.0 + 40.0) + 4.0 * 4.0);
/// # Ok::<(), cadft_model::ModelError>(())
/// ```
#[must_use]
pub fn forward(config: &ModelConfig, context: usize) -> f64 {
    let active_share = config.experts.as_ref().map_or(1.0, Experts::active_share);
    let matrices: f64 = expected_parameters(config)
        .iter()
        .filter(|(name, shape)| shape.len() == 2 && !name.strip_suffix(".weight").is_some_and(is_embedding))
        .map(|(name, shape)| {
            let share = if is_of_experts(name) { active_share } else { 1.0 };
            share * shape.iter().product::<usize>() as f64
        })
        .sum();
    let output = if config.tie_word_embeddings {
        config.vocab_size * config.hidden_size
    } else {
        0
    };
    let linear = config.linear_attention.as_ref();
    let recurrent = linear.map_or(0, LinearAttention::blocks);
    let is_full = |index: &usize| !linear.is_some_and(|linear| linear.linear[*index]);
    let heads = (0..config.num_hidden_layers).filter(is_full);
    let width = config.num_attention_heads as f64
        * heads
            .map(|index| config.layers[index].head_dim as f64)
            .sum::<f64>();
    let attended = (context + 1) as f64 / 2.0;
    let memory = linear.map_or(0.0, |linear| {
        (recurrent * linear.value_width() * linear.linear_key_head_dim) as f64
    });
    2.0 * (matrices + output as f64) + 4.0 * width * attended + 2.0 * 3.0 * memory
}

/// Operations of a training step per token, averaged over a sequence of `context` tokens.
#[must_use]
pub fn training(config: &ModelConfig, context: usize) -> f64 {
    3.0 * forward(config, context)
}
