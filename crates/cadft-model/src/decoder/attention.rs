//! Causal grouped-query attention with rotary position embeddings.
//!
//! ```text
//! a(t, s) = softmax_s(scale · q(t) · k(s)),  first(t) ≤ s ≤ t
//! o(t)    = Σ_s a(t, s) v(s)
//! ```

use burn::module::Module;
use burn::tensor::Tensor;

use super::linear::{Bias, Linear, shared_factor};
use super::{Context, Precision, RmsNorm};
use crate::cache::LayerCache;
use crate::config::{LayerAttention, ModelConfig};
use crate::fused::{self, AttentionInput, AttentionOptions};
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
    /// Norm of each query head.
    pub q_norm: Option<RmsNorm>,
    /// Norm of each key head.
    pub k_norm: Option<RmsNorm>,
    #[module(skip)]
    layer: LayerAttention,
    #[module(skip)]
    scores: Scores,
}

/// How scores are made.
#[derive(Clone, Copy, Debug)]
struct Scores {
    head_dim: usize,
    scale: f64,
    softcap: Option<f64>,
    precision: Precision,
}

impl Attention {
    pub(crate) fn new(config: &ModelConfig, index: usize, make: &mut Parameters<'_>) -> Self {
        let ModelConfig {
            hidden_size,
            head_dim,
            num_key_value_heads: kv_heads,
            ..
        } = *config;
        let name = format!("model.layers.{index}.self_attn");
        let (query, key) = (config.num_attention_heads * head_dim, kv_heads * head_dim);
        let (bias, output_bias) = (
            Bias::from_flag(config.attention_bias),
            Bias::from_flag(config.attention_output_bias),
        );
        let mut linear =
            |part: &str, shape: [usize; 2], bias| Linear::new(&format!("{name}.{part}"), shape, bias, make);
        let [q_proj, k_proj, v_proj] = [("q_proj", query), ("k_proj", key), ("v_proj", key)]
            .map(|(part, width)| linear(part, [width, hidden_size], bias));
        let o_proj = linear("o_proj", [hidden_size, query], output_bias);
        let mut norm = |part: &str| {
            config
                .qk_norm
                .then(|| RmsNorm::new(&format!("{name}.{part}"), head_dim, config, make))
        };
        Self {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            q_norm: norm("q_norm"),
            k_norm: norm("k_norm"),
            layer: config.layers[index],
            scores: Scores {
                head_dim,
                scale: config.attention_scale,
                softcap: config.attn_logit_softcapping,
                precision: Precision::F32,
            },
        }
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let x = shared_factor(x, [&self.q_proj, &self.k_proj, &self.v_proj]);
        let device = x.device();
        let [for_query, for_key] = [x.clone(), x.clone()];
        let query = || self.by_head(&self.q_norm, self.q_proj.forward(for_query)); // [batch, seq, heads * head_dim]
        let key = || self.by_head(&self.k_norm, self.k_proj.forward(for_key)); // [batch, seq, kv_heads * head_dim]
        let value = || self.v_proj.forward(x);
        let (query, (key, value)) = fused::both(&device, query, || fused::both(&device, key, value));
        let input = AttentionInput {
            query,
            key,
            value,
            rotation: context.rotation(self.layer).cloned(),
            options: self.options(context),
        };
        let output = match cache {
            Some(cache) => cache.attention(input, context.cached(), context.hidden_keys(self.layer)),
            None => fused::causal_attention(input),
        };
        self.o_proj.forward(output)
    }

    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.scores.precision = precision;
    }

    /// Normalises each head, where the model does.
    fn by_head(&self, norm: &Option<RmsNorm>, x: Tensor<3>) -> Tensor<3> {
        let Some(norm) = norm else { return x };
        let [batch, seq, width] = x.dims();
        let head_dim = self.scores.head_dim;
        let heads = x.reshape([batch, seq * width / head_dim, head_dim]);
        norm.forward(heads).reshape([batch, seq, width])
    }

    fn options(&self, context: &Context) -> AttentionOptions {
        let Scores {
            head_dim,
            scale,
            softcap,
            precision,
        } = self.scores;
        AttentionOptions {
            head_dim,
            scale,
            softcap,
            window: self.layer.window,
            starts: context.starts(),
            precision,
        }
    }
}
