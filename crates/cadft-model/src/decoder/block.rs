//! One block: attention and feed-forward, each added to the residual stream, with norms before, after or around them.
//!
//! ```text
//! x ← x + m · after(f(before(x)))          f: attention, then feed-forward; an absent norm is the identity
//! x ← x + norm(W_out (activation(W_gate x) · i))         Gemma 4, with the block's input i
//! x ← s · x                                              Gemma 4, with a fixed factor s
//! ```

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::beside::{Beside, KeysAndValues};
use super::linear::{Bias, Linear};
use super::{Attention, Context, DeltaNet, FeedForward, Precision, RmsNorm, SharedMlp};
use crate::cache::LayerCache;
use crate::config::{ModelConfig, Norms};
use crate::fused::{self, Activation};
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
    /// Gate of the block's input, in Gemma 4.
    pub per_layer_input_gate: Option<Linear>,
    /// Output projection of the block's input, in Gemma 4.
    pub per_layer_projection: Option<Linear>,
    /// Norm after that, in Gemma 4.
    pub post_per_layer_input_norm: Option<RmsNorm>,
    /// The factor of the block's output, `[1]`, in Gemma 4; it is not trained.
    pub layer_scalar: Option<Param<Tensor<1>>>,
    #[module(skip)]
    norms: Norms,
    #[module(skip)]
    activation: Activation,
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
        let hidden = config.hidden_size;
        let inputs = config.per_layer_inputs();
        let input_linear = |part: &str, shape: fn(usize, usize) -> [usize; 2], make: &mut Parameters<'_>| {
            let width = inputs?.hidden_size_per_layer_input;
            let name = format!("{name}.{part}");
            Some(Linear::new(&name, shape(hidden, width), Bias::Absent, make))
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
            per_layer_input_gate: input_linear("per_layer_input_gate", |hidden, width| [width, hidden], make),
            per_layer_projection: input_linear("per_layer_projection", |hidden, width| [hidden, width], make),
            post_per_layer_input_norm: inputs.map(|_| norm("post_per_layer_input_norm", make)),
            layer_scalar: (config.by_block.as_ref())
                .map(|_| make.constant(&format!("{name}.layer_scalar"), [1])),
            activation: config.hidden_act,
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
        let of_input = [
            ("per_layer_input_gate", &self.per_layer_input_gate),
            ("per_layer_projection", &self.per_layer_projection),
        ];
        linears.extend(
            of_input
                .into_iter()
                .filter_map(|(name, linear)| Some((name.to_owned(), linear.as_ref()?))),
        );
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
        let of_input = [
            ("per_layer_input_gate", &mut self.per_layer_input_gate),
            ("per_layer_projection", &mut self.per_layer_projection),
        ];
        linears.extend(
            of_input
                .into_iter()
                .filter_map(|(name, linear)| Some((name.to_owned(), linear.as_mut()?))),
        );
        linears
    }

    /// The block whose keys and values this one has, if it has none of its own.
    pub(crate) fn key_source(&self) -> Option<usize> {
        self.self_attn.as_ref()?.key_source()
    }

    /// The output, and the keys and values if later blocks share them.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        beside: Beside,
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> (Tensor<3>, Option<KeysAndValues>) {
        let [attention, feed_forward] = self.norms();
        let mut keys = None;
        let x = self.add(x, attention, |x| match (&self.self_attn, &self.linear_attn) {
            (Some(attention), _) => {
                let (output, own) = attention.forward(x, beside.keys, context, cache);
                keys = own;
                output
            }
            (None, Some(attention)) => attention.forward(x, context, cache),
            (None, None) => panic!("a block has attention"),
        });
        let x = self.add(x, feed_forward, |x| match (&self.mlp, &self.shared_mlp) {
            (Some(mlp), _) => mlp.forward(x),
            (None, Some(mlp)) => mlp.forward(x),
            (None, None) => panic!("a block has a feed-forward block"),
        });
        (self.scaled(self.with_input(x, beside.input)), keys)
    }

    /// Adds what the block's input gives, if it has one.
    fn with_input(&self, x: Tensor<3>, input: Option<Tensor<3>>) -> Tensor<3> {
        let (Some(gate), Some(projection), Some(norm), Some(input)) = (
            &self.per_layer_input_gate,
            &self.per_layer_projection,
            &self.post_per_layer_input_norm,
            input,
        ) else {
            return x;
        };
        let y = fused::gated(self.activation, gate.forward(x.clone()), input, Precision::F32);
        x + norm.forward(projection.forward(y))
    }

    /// Multiplies by the block's factor, if it has one.
    fn scaled(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.layer_scalar {
            Some(factor) => x * factor.val().unsqueeze(),
            None => x,
        }
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
            Norms::Gemma | Norms::Gemma4 => [
                [input, post_attention],
                [
                    self.pre_feedforward_layernorm.as_ref(),
                    self.post_feedforward_layernorm.as_ref(),
                ],
            ],
        }
    }
}
