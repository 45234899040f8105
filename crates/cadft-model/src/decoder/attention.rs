//! Causal grouped-query attention with rotary position embeddings.
//!
//! ```text
//! a(t, s) = softmax_s(q(t) · k(s) / √head_dim),  s ≤ t
//! o(t)    = Σ_s a(t, s) v(s)
//! ```

use burn::module::Module;
use burn::tensor::Tensor;

use super::Context;
use super::linear::{Bias, Linear};
use crate::cache::LayerCache;
use crate::config::ModelConfig;
use crate::fused::{
    self, AttentionInput,
    portable::{attend, merge_heads, rotate, split_heads},
};
use crate::parameters::Parameters;

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
            head_dim,
        }
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let query = self.q_proj.forward(x.clone()); // [batch, seq, heads * head_dim]
        let key = self.k_proj.forward(x.clone()); // [batch, seq, kv_heads * head_dim]
        let value = self.v_proj.forward(x);
        let output = match cache {
            None if context.is_hidden.is_none() => {
                let (cos, sin) = context.shared_tables();
                fused::causal_attention(AttentionInput {
                    query,
                    key,
                    value,
                    cos,
                    sin,
                })
            }
            cache => {
                let query = rotate(split_heads(query, self.head_dim), &context.tables);
                let key = rotate(split_heads(key, self.head_dim), &context.tables);
                let value = split_heads(value, self.head_dim);
                let (key, value) = match cache {
                    Some(cache) => cache.append(key, value),
                    None => (key, value),
                };
                merge_heads(attend(query, key, value, context.is_hidden.clone()))
            }
        };
        self.o_proj.forward(output)
    }
}
