//! One block: attention and feed-forward, each added to the residual stream, with norms before, after or around them.
//!
//! ```text
//! x ← x + m · after(f(before(x)))          f: attention, then feed-forward; an absent norm is the identity
//! ```

use burn::module::Module;
use burn::tensor::Tensor;

use super::linear::Linear;
use super::{Attention, Context, DeltaNet, FeedForward, RmsNorm, SharedMlp};
use crate::cache::LayerCache;
use crate::config::{ModelConfig, Norms};
use crate::parameters::Parameters;

/// One block of the decoder.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention; `OLMo` has none.
    pub input_layernorm: Option<RmsNorm>,
    /// Full attention.
    pub self_attn: Option<Attention>,
    /// Linear attention, which replaces it in some blocks of Qwen3.5.
    pub linear_attn: Option<DeltaNet>,
    /// Norm after attention, in GLM-4.
    pub post_self_attn_layernorm: Option<RmsNorm>,
    /// Norm before the feed-forward block; in Gemma and `OLMo`, after attention.
    pub post_attention_layernorm: RmsNorm,
    /// Norm before the feed-forward block, in Gemma.
    pub pre_feedforward_layernorm: Option<RmsNorm>,
    /// Norm after the feed-forward block, in Gemma and `OLMo`.
    pub post_feedforward_layernorm: Option<RmsNorm>,
    /// Norm after the feed-forward block, in GLM-4.
    pub post_mlp_layernorm: Option<RmsNorm>,
    /// Feed-forward block.
    pub mlp: Option<FeedForward>,
    /// Feed-forward block, in Granite 4.
    pub shared_mlp: Option<SharedMlp>,
    #[module(skip)]
    norms: Norms,
    /// Factor of what is added to the residual stream.
    residual_scale: f64,
}

impl Block {
    pub(crate) fn new(config: &ModelConfig, index: usize, make: &mut Parameters<'_>) -> Self {
        let name = format!("model.layers.{index}");
        let norm = |part: &str, make: &mut Parameters<'_>| {
            RmsNorm::new(&format!("{name}.{part}"), config.hidden_size, config, make)
        };
        let optional = |part: &str, make: &mut Parameters<'_>| {
            (config.norms.names().contains(&part)).then(|| norm(part, make))
        };
        let linear = config.linear_attention.as_ref();
        let is_linear = linear.is_some_and(|linear| linear.linear[index]);
        Self {
            input_layernorm: optional("input_layernorm", make),
            self_attn: (!is_linear).then(|| Attention::new(config, index, make)),
            linear_attn: (linear.filter(|_| is_linear))
                .map(|linear| DeltaNet::new(config, linear, index, make)),
            post_self_attn_layernorm: optional("post_self_attn_layernorm", make),
            post_attention_layernorm: norm("post_attention_layernorm", make),
            pre_feedforward_layernorm: optional("pre_feedforward_layernorm", make),
            post_feedforward_layernorm: optional("post_feedforward_layernorm", make),
            post_mlp_layernorm: optional("post_mlp_layernorm", make),
            mlp: (!config.fused.is_shared_mlp()).then(|| FeedForward::new(config, index, make)),
            shared_mlp: (config.fused.is_shared_mlp())
                .then(|| SharedMlp::new(config, &format!("{name}.shared_mlp"), make)),
            norms: config.norms,
            residual_scale: config.residual_scale,
        }
    }

    /// The linear layers, by name; not the routers of experts.
    pub(crate) fn linears(&self) -> Vec<(String, &Linear)> {
        let mut linears = vec![];
        let full = self.self_attn.iter().flat_map(Attention::linears);
        linears.extend(full.map(|(name, linear)| (format!("self_attn.{name}"), linear)));
        let recurrent = self.linear_attn.iter().flat_map(DeltaNet::linears);
        linears.extend(recurrent.map(|(name, linear)| (format!("linear_attn.{name}"), linear)));
        let shared = self.shared_mlp.iter().flat_map(SharedMlp::linears);
        linears.extend(shared.map(|(name, linear)| (format!("shared_mlp.{name}"), linear)));
        linears.extend(self.mlp.iter().flat_map(FeedForward::linears));
        linears
    }

    /// As [`Block::linears`], to change them.
    pub(crate) fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        let mut linears = vec![];
        let full = self.self_attn.iter_mut().flat_map(Attention::linears_mut);
        linears.extend(full.map(|(name, linear)| (format!("self_attn.{name}"), linear)));
        let recurrent = self.linear_attn.iter_mut().flat_map(DeltaNet::linears_mut);
        linears.extend(recurrent.map(|(name, linear)| (format!("linear_attn.{name}"), linear)));
        let shared = self.shared_mlp.iter_mut().flat_map(SharedMlp::linears_mut);
        linears.extend(shared.map(|(name, linear)| (format!("shared_mlp.{name}"), linear)));
        linears.extend(self.mlp.iter_mut().flat_map(FeedForward::linears_mut));
        linears
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let [attention, feed_forward] = self.norms();
        let x = self.add(x, attention, |x| match (&self.self_attn, &self.linear_attn) {
            (Some(attention), _) => attention.forward(x, context, cache),
            (None, Some(attention)) => attention.forward(x, context, cache),
            (None, None) => panic!("a block has attention"),
        });
        self.add(x, feed_forward, |x| match (&self.mlp, &self.shared_mlp) {
            (Some(mlp), _) => mlp.forward(x),
            (None, Some(mlp)) => mlp.forward(x),
            (None, None) => panic!("a block has a feed-forward block"),
        })
    }

    /// `x + m · after(f(before(x)))`.
    fn add(
        &self,
        x: Tensor<3>,
        [before, after]: [Option<&RmsNorm>; 2],
        f: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let apply = |norm: Option<&RmsNorm>, x: Tensor<3>| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let y = apply(after, f(apply(before, x.clone())));
        if self.residual_scale == 1.0 {
            x + y
        } else {
            x + y * self.residual_scale
        }
    }

    /// The norms before and after attention, and before and after the feed-forward block.
    fn norms(&self) -> [[Option<&RmsNorm>; 2]; 2] {
        let input = self.input_layernorm.as_ref();
        let post_attention = Some(&self.post_attention_layernorm);
        match self.norms {
            Norms::Before | Norms::BeforeFromOne => [[input, None], [post_attention, None]],
            Norms::After => [
                [None, post_attention],
                [None, self.post_feedforward_layernorm.as_ref()],
            ],
            Norms::Around => [
                [input, self.post_self_attn_layernorm.as_ref()],
                [post_attention, self.post_mlp_layernorm.as_ref()],
            ],
            Norms::Gemma => [
                [input, post_attention],
                [
                    self.pre_feedforward_layernorm.as_ref(),
                    self.post_feedforward_layernorm.as_ref(),
                ],
            ],
        }
    }
}
