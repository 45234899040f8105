//! Causal grouped-query attention with rotary position embeddings.
//!
//! ```text
//! a(t, s) = softmax_s(scale · q(t) · k(s)),  first(t) ≤ s ≤ t
//! o(t)    = Σ_s a(t, s) v(s)
//! ```

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::beside::KeysAndValues;
use super::linear::{Bias, Linear, shared_factor};
use super::mlp::cut;
use super::rope::halves;
use super::{Context, Precision, RmsNorm};
use crate::cache::LayerCache;
use crate::config::{KeySource, LayerAttention, ModelConfig, Norms, QueryKeyNorm, RotaryPairs};
use crate::fused::{self, AttentionInput, AttentionOptions};
use crate::parameters::Parameters;

/// The attention block.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query projection.
    pub q_proj: Option<Linear>,
    /// Key projection.
    pub k_proj: Option<Linear>,
    /// Value projection.
    pub v_proj: Option<Linear>,
    /// Fused query, key and value projection, which replaces the three.
    pub qkv_proj: Option<Linear>,
    /// Output projection.
    pub o_proj: Linear,
    /// Norm of each query head, or of all heads together.
    pub q_norm: Option<RmsNorm>,
    /// Norm of each key head, or of all heads together.
    pub k_norm: Option<RmsNorm>,
    #[module(skip)]
    layer: LayerAttention,
    #[module(skip)]
    scores: Scores,
}

/// How scores are computed.
#[derive(Clone, Copy, Debug)]
struct Scores {
    heads: usize,
    qk_norm: QueryKeyNorm,
    /// Whether later blocks have the keys and values of this one.
    is_shared: bool,
    /// The ε of the norm of values, whose factor is 1 (Gemma 4).
    value_norm: Option<f64>,
    /// Whether the query projection also gives a gate, head by head after the query.
    has_gate: bool,
    /// The largest size of an element of queries, keys and values.
    clip: Option<f64>,
    /// Number of rotated dimensions, and how they are paired.
    rotary: (usize, RotaryPairs),
    scale: f64,
    softcap: Option<f64>,
    precision: Precision,
}

impl Attention {
    pub(crate) fn new(config: &ModelConfig, index: usize, make: &mut Parameters<'_>) -> Self {
        let ModelConfig {
            hidden_size,
            num_attention_heads: heads,
            qk_norm,
            ..
        } = *config;
        let layer = config.layers[index];
        let LayerAttention { head_dim, keys, .. } = layer;
        let name = format!("model.layers.{index}.self_attn");
        let (query, key) = (heads * head_dim, layer.key_width());
        let (bias, output_bias) = (
            Bias::from_flag(config.attention_bias),
            Bias::from_flag(config.attention_output_bias),
        );
        let mut linear =
            |part: &str, shape: [usize; 2], bias| Linear::new(&format!("{name}.{part}"), shape, bias, make);
        let fused = config.fused.qkv();
        let mut input =
            |part: &str, width: usize, exists: bool| exists.then(|| linear(part, [width, hidden_size], bias));
        let with_gate = if config.attention_gate { 2 * query } else { query };
        let [q_proj, k_proj, v_proj] = [
            ("q_proj", with_gate, true),
            ("k_proj", key, layer.key_source().is_none()),
            ("v_proj", key, keys == KeySource::Own),
        ]
        .map(|(part, width, exists)| input(part, width, exists && !fused));
        let qkv_proj = input("qkv_proj", query + 2 * key, fused);
        let o_proj = linear("o_proj", [hidden_size, query], output_bias);
        let mut norm = |part: &str, width: usize| {
            qk_norm
                .size(head_dim, width)
                .map(|size| RmsNorm::new(&format!("{name}.{part}"), size, config, make))
        };
        Self {
            q_proj,
            k_proj,
            v_proj,
            qkv_proj,
            o_proj,
            q_norm: norm("q_norm", query),
            k_norm: if layer.key_source().is_none() {
                norm("k_norm", key)
            } else {
                None
            },
            layer,
            scores: Scores {
                heads,
                qk_norm,
                is_shared: config
                    .layers
                    .iter()
                    .any(|layer| layer.key_source() == Some(index)),
                value_norm: (config.norms == Norms::Gemma4).then_some(config.rms_norm_eps),
                has_gate: config.attention_gate,
                clip: config.clip_qkv,
                rotary: (config.rotary_dims, config.rotary_pairs),
                scale: config.attention_scale,
                softcap: config.attn_logit_softcapping,
                precision: Precision::F32,
            },
        }
    }

    /// The output, and the keys and values if later blocks have them. `keys` are those of an earlier block, if this one has none of
    /// its own.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        keys: Option<KeysAndValues>,
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> (Tensor<3>, Option<KeysAndValues>) {
        let ([query, key, value], gate) = self.project(x, keys);
        let [query, key, value] = [query, key, value].map(|x| self.clipped(x));
        let shared = self.scores.is_shared.then(|| [key.clone(), value.clone()]);
        let query = match context.temperature() {
            Some(temperature) => query * temperature.clone(),
            None => query,
        };
        let input = AttentionInput {
            query: self.paired(query),
            key: self.paired(key),
            value,
            rotation: context.rotation(self.layer).cloned(),
            options: self.options(context),
        };
        let output = match cache {
            Some(cache) => cache.attention(input, context.cached(), context.hidden_keys(self.layer)),
            None => fused::causal_attention(input),
        };
        let output = match gate {
            Some(gate) => output * activation::sigmoid(gate),
            None => output,
        };
        (self.o_proj.forward(output), shared)
    }

    /// Queries `[batch, seq, heads * head_dim]`, keys and values `[batch, seq, kv_heads * head_dim]`, normalised; and the gate of the
    /// output, of the shape of queries.
    fn project(&self, x: Tensor<3>, keys: Option<KeysAndValues>) -> ([Tensor<3>; 3], Option<Tensor<3>>) {
        if let Some(qkv) = &self.qkv_proj {
            let y = qkv.forward(x);
            let (query, key) = (self.scores.heads * self.layer.head_dim, self.key_width());
            let [query, key, value] =
                [(0, query), (query, key), (query + key, key)].map(|(start, width)| cut(&y, start, width));
            let [query, key] = [self.normed(&self.q_norm, query), self.normed(&self.k_norm, key)];
            return ([query, key, value], None);
        }
        let Some(q_proj) = &self.q_proj else {
            panic!("attention has a query projection, or one matrix");
        };
        let (k_proj, v_proj) = match (&self.k_proj, &self.v_proj, keys) {
            (Some(k_proj), Some(v_proj), _) => (k_proj, v_proj),
            (Some(k_proj), None, _) => {
                let x = shared_factor(x, [q_proj, k_proj]);
                let query = self.normed(&self.q_norm, q_proj.forward(x.clone()));
                let both = k_proj.forward(x);
                let key = self.normed(&self.k_norm, both.clone());
                return ([query, key, self.normed_value(both)], None);
            }
            (None, _, Some([key, value])) => {
                return ([self.normed(&self.q_norm, q_proj.forward(x)), key, value], None);
            }
            (None, _, None) => panic!("attention has keys, or those of an earlier block"),
        };
        let x = shared_factor(x, [q_proj, k_proj, v_proj]);
        let device = x.device();
        let [for_query, for_key] = [x.clone(), x.clone()];
        let query = || {
            let (query, gate) = self.without_gate(q_proj.forward(for_query));
            (self.normed(&self.q_norm, query), gate)
        };
        let key = || self.normed(&self.k_norm, k_proj.forward(for_key));
        let value = || self.normed_value(v_proj.forward(x));
        let ((query, gate), (key, value)) = fused::both(&device, query, || fused::both(&device, key, value));
        ([query, key, value], gate)
    }

    /// Queries, and the gate if there is one: heads of both are in turns.
    fn without_gate(&self, x: Tensor<3>) -> (Tensor<3>, Option<Tensor<3>>) {
        if !self.scores.has_gate {
            return (x, None);
        }
        let ([batch, seq, width], head_dim) = (x.dims(), self.layer.head_dim);
        let pairs = x.reshape([batch, seq, width / (2 * head_dim), 2 * head_dim]);
        let [query, gate] = [0, head_dim].map(|start| {
            let half = pairs.clone().slice_dim(3, start..start + head_dim);
            half.reshape([batch, seq, width / 2])
        });
        (query, Some(gate))
    }

    /// Limits the elements of queries, keys or values, if the model does.
    fn clipped(&self, x: Tensor<3>) -> Tensor<3> {
        match self.scores.clip {
            Some(clip) => x.clamp(-clip, clip),
            None => x,
        }
    }

    /// The projections that the block has, by name.
    pub(crate) fn linears(&self) -> impl Iterator<Item = (&'static str, &Linear)> {
        let parts = [
            ("q_proj", self.q_proj.as_ref()),
            ("k_proj", self.k_proj.as_ref()),
            ("v_proj", self.v_proj.as_ref()),
            ("qkv_proj", self.qkv_proj.as_ref()),
            ("o_proj", Some(&self.o_proj)),
        ];
        (parts.into_iter()).filter_map(|(name, linear)| Some((name, linear?)))
    }

    /// As [`Attention::linears`], to change them.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Linear)> {
        let parts = [
            ("q_proj", self.q_proj.as_mut()),
            ("k_proj", self.k_proj.as_mut()),
            ("v_proj", self.v_proj.as_mut()),
            ("qkv_proj", self.qkv_proj.as_mut()),
            ("o_proj", Some(&mut self.o_proj)),
        ];
        (parts.into_iter()).filter_map(|(name, linear)| Some((name, linear?)))
    }

    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.scores.precision = precision;
    }

    /// Width of all key heads of a position; the value heads have the same width.
    fn key_width(&self) -> usize {
        self.layer.key_width()
    }

    /// Width of the keys that the block keeps for later tokens.
    pub(crate) fn kept_width(&self) -> usize {
        if self.key_source().is_some() {
            0
        } else {
            self.key_width()
        }
    }

    /// The block whose keys and values this one has, if it has none of its own.
    pub(crate) fn key_source(&self) -> Option<usize> {
        self.layer.key_source()
    }

    /// Normalises each head of the values, if the model does.
    fn normed_value(&self, x: Tensor<3>) -> Tensor<3> {
        let Some(epsilon) = self.scores.value_norm else {
            return x;
        };
        let ([batch, seq, width], head_dim) = (x.dims(), self.layer.head_dim);
        let ones = Tensor::ones([head_dim], &x.device());
        let heads = x.reshape([batch, seq * width / head_dim, head_dim]);
        fused::rms_norm(heads, ones, epsilon).reshape([batch, seq, width])
    }

    /// Applies the norm to each head or to all together, if the model has one.
    fn normed(&self, norm: &Option<RmsNorm>, x: Tensor<3>) -> Tensor<3> {
        let Some(norm) = norm else { return x };
        if self.scores.qk_norm == QueryKeyNorm::Whole {
            return norm.forward(x);
        }
        let [batch, seq, width] = x.dims();
        let head_dim = self.layer.head_dim;
        let heads = x.reshape([batch, seq * width / head_dim, head_dim]);
        norm.forward(heads).reshape([batch, seq, width])
    }

    /// Reorders the dimensions of queries or keys so that pairs are half of the rotated dimensions apart, as [`fused`]
    /// expects. With the same order in both, their products do not change.
    fn paired(&self, x: Tensor<3>) -> Tensor<3> {
        match self.scores.rotary {
            (_, RotaryPairs::Halves) => x,
            (dims, RotaryPairs::Neighbours) => halves(x, self.layer.head_dim, dims),
        }
    }

    fn options(&self, context: &Context) -> AttentionOptions {
        let Scores {
            scale,
            softcap,
            precision,
            ..
        } = self.scores;
        AttentionOptions {
            head_dim: self.layer.head_dim,
            scale,
            softcap,
            window: self.layer.window,
            starts: context.starts(),
            precision,
        }
    }
}
