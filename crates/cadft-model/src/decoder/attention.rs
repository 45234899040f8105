//! Causal grouped-query attention with rotary position embeddings.
//!
//! ```text
//! a(t, s) = softmax_s(scale · q(t) · k(s)),  first(t) ≤ s ≤ t
//! o(t)    = Σ_s a(t, s) v(s)
//! ```

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::linear::{Bias, Linear, shared_factor};
use super::mlp::cut;
use super::rope::halves;
use super::{Context, Precision, RmsNorm};
use crate::cache::LayerCache;
use crate::config::{LayerAttention, ModelConfig, QueryKeyNorm, RotaryPairs};
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
    kv_heads: usize,
    head_dim: usize,
    qk_norm: QueryKeyNorm,
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
            num_key_value_heads: kv_heads,
            head_dim,
            qk_norm,
            ..
        } = *config;
        let name = format!("model.layers.{index}.self_attn");
        let (query, key) = (heads * head_dim, kv_heads * head_dim);
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
        let [q_proj, k_proj, v_proj] = [("q_proj", with_gate), ("k_proj", key), ("v_proj", key)]
            .map(|(part, width)| input(part, width, !fused));
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
            k_norm: norm("k_norm", key),
            layer: config.layers[index],
            scores: Scores {
                heads,
                kv_heads,
                head_dim,
                qk_norm,
                has_gate: config.attention_gate,
                clip: config.clip_qkv,
                rotary: (config.rotary_dims, config.rotary_pairs),
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
        let ([query, key, value], gate) = self.project(x);
        let [query, key, value] = [query, key, value].map(|x| self.clipped(x));
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
        self.o_proj.forward(output)
    }

    /// Queries `[batch, seq, heads * head_dim]`, keys and values `[batch, seq, kv_heads * head_dim]`, normalised; and the gate of the
    /// output, of the shape of queries.
    fn project(&self, x: Tensor<3>) -> ([Tensor<3>; 3], Option<Tensor<3>>) {
        if let Some(qkv) = &self.qkv_proj {
            let y = qkv.forward(x);
            let (query, key) = (self.scores.heads * self.scores.head_dim, self.key_width());
            let [query, key, value] =
                [(0, query), (query, key), (query + key, key)].map(|(start, width)| cut(&y, start, width));
            let [query, key] = [self.normed(&self.q_norm, query), self.normed(&self.k_norm, key)];
            return ([query, key, value], None);
        }
        let (Some(q_proj), Some(k_proj), Some(v_proj)) = (&self.q_proj, &self.k_proj, &self.v_proj) else {
            panic!("attention has query, key and value projections, or one matrix");
        };
        let x = shared_factor(x, [q_proj, k_proj, v_proj]);
        let device = x.device();
        let [for_query, for_key] = [x.clone(), x.clone()];
        let query = || {
            let (query, gate) = self.without_gate(q_proj.forward(for_query));
            (self.normed(&self.q_norm, query), gate)
        };
        let key = || self.normed(&self.k_norm, k_proj.forward(for_key));
        let value = || v_proj.forward(x);
        let ((query, gate), (key, value)) = fused::both(&device, query, || fused::both(&device, key, value));
        ([query, key, value], gate)
    }

    /// Queries, and the gate if there is one: heads of both are in turns.
    fn without_gate(&self, x: Tensor<3>) -> (Tensor<3>, Option<Tensor<3>>) {
        if !self.scores.has_gate {
            return (x, None);
        }
        let ([batch, seq, width], head_dim) = (x.dims(), self.scores.head_dim);
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
    pub(crate) fn key_width(&self) -> usize {
        self.scores.kv_heads * self.scores.head_dim
    }

    /// Applies the norm to each head or to all together, if the model has one.
    fn normed(&self, norm: &Option<RmsNorm>, x: Tensor<3>) -> Tensor<3> {
        let Some(norm) = norm else { return x };
        if self.scores.qk_norm == QueryKeyNorm::Whole {
            return norm.forward(x);
        }
        let [batch, seq, width] = x.dims();
        let head_dim = self.scores.head_dim;
        let heads = x.reshape([batch, seq * width / head_dim, head_dim]);
        norm.forward(heads).reshape([batch, seq, width])
    }

    /// Reorders the dimensions of queries or keys so that pairs are half of the rotated dimensions apart, as [`fused`]
    /// expects. With the same order in both, their products do not change.
    fn paired(&self, x: Tensor<3>) -> Tensor<3> {
        match self.scores.rotary {
            (_, RotaryPairs::Halves) => x,
            (dims, RotaryPairs::Neighbours) => halves(x, self.scores.head_dim, dims),
        }
    }

    fn options(&self, context: &Context) -> AttentionOptions {
        let Scores {
            head_dim,
            scale,
            softcap,
            precision,
            ..
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
