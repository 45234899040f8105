//! Causal grouped-query attention with rotary position embeddings.
//!
//! ```text
//! a(t, s) = softmax_s(q(t) · k(s) / √head_dim),  s ≤ t
//! o(t)    = Σ_s a(t, s) v(s)
//! ```
//!
//! The query heads that share a key and value head are stacked along the sequence, so keys and values are never
//! repeated.

use burn::module::Module;
use burn::tensor::{Tensor, activation::softmax};

use super::Context;
use super::linear::{Bias, Linear};
use crate::cache::LayerCache;
use crate::config::ModelConfig;
use crate::parameters::Parameters;

/// Stands for −∞ in masked scores: finite, so that a row whose keys are all hidden gives no NaN.
const HIDDEN_SCORE: f32 = -1e30;

/// The attention block.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query projection.
    pub q_proj: Linear,
    /// Key projection.
    pub k_proj: Linear,
    /// Value projection.
    pub v_proj: Linear,
    /// Output projection.
    pub o_proj: Linear,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(crate) fn new(config: &ModelConfig, name: &str, make: &mut Parameters<'_>) -> Self {
        let ModelConfig {
            hidden_size,
            head_dim,
            num_key_value_heads: kv_heads,
            ..
        } = *config;
        let (query, key) = (config.num_attention_heads * head_dim, kv_heads * head_dim);
        let bias = Bias::from_flag(config.attention_bias);
        let mut linear =
            |part: &str, shape: [usize; 2]| Linear::new(&format!("{name}.{part}"), shape, bias, make);
        Self {
            q_proj: linear("q_proj", [query, hidden_size]),
            k_proj: linear("k_proj", [key, hidden_size]),
            v_proj: linear("v_proj", [key, hidden_size]),
            o_proj: linear("o_proj", [hidden_size, query]),
            kv_heads,
            head_dim,
        }
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let query = rotate(self.split_heads(self.q_proj.forward(x.clone())), context);
        let key = rotate(self.split_heads(self.k_proj.forward(x.clone())), context);
        let value = self.split_heads(self.v_proj.forward(x));
        let (key, value) = match cache {
            Some(cache) => cache.append(key, value),
            None => (key, value),
        };
        self.o_proj
            .forward(merge_heads(attend(query, key, value, context)))
    }

    /// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, seq, width] = x.dims();
        x.reshape([batch, seq, width / self.head_dim, self.head_dim])
            .swap_dims(1, 2)
    }
}

/// `[batch, heads, seq, head_dim]` to `[batch, seq, heads * head_dim]`.
fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, seq, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, seq, heads * head_dim])
}

/// Rotates dimension `i` of each head with dimension `i + head_dim / 2`.
fn rotate(x: Tensor<4>, context: &Context) -> Tensor<4> {
    let [_, _, _, head_dim] = x.dims();
    let first = x.clone().slice_dim(3, 0..head_dim / 2);
    let second = x.slice_dim(3, head_dim / 2..head_dim);
    let (cos, sin) = (context.cos.clone(), context.sin.clone());
    Tensor::cat(
        vec![
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ],
        3,
    )
}

/// Attention of `[batch, heads, seq, head_dim]` queries to `[batch, kv_heads, keys, head_dim]` keys and values.
fn attend(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, context: &Context) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = query.dims();
    let [_, kv_heads, keys, _] = key.dims();
    let groups = heads / kv_heads;
    let scale = (head_dim as f64).powf(-0.5);
    let query = (query * scale).reshape([batch, kv_heads, groups * seq, head_dim]);
    let scores = query.matmul(key.swap_dims(2, 3)); // [batch, kv_heads, groups * seq, keys]
    let mut scores = scores.reshape([batch, kv_heads, groups, seq, keys]);
    if let Some(is_hidden) = &context.is_hidden {
        let is_hidden = is_hidden.clone().expand([batch, kv_heads, groups, seq, keys]);
        scores = scores.mask_fill(is_hidden, HIDDEN_SCORE);
    }
    let weights = softmax(scores, 4).reshape([batch, kv_heads, groups * seq, keys]);
    weights.matmul(value).reshape([batch, heads, seq, head_dim])
}
