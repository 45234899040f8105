//! One block: attention and feed-forward, each on a normalised input and added to the residual stream.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Attention, Context, Mlp, RmsNorm};
use crate::cache::LayerCache;
use crate::config::{ModelConfig, Norms};
use crate::parameters::Parameters;

/// One block of the decoder.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: Attention,
    /// Norm before the feed-forward block; in Gemma 3, after attention.
    pub post_attention_layernorm: RmsNorm,
    /// Norm before the feed-forward block, in Gemma 3.
    pub pre_feedforward_layernorm: Option<RmsNorm>,
    /// Norm after the feed-forward block, in Gemma 3.
    pub post_feedforward_layernorm: Option<RmsNorm>,
    /// Feed-forward block.
    pub mlp: Mlp,
}

impl Block {
    pub(crate) fn new(config: &ModelConfig, index: usize, make: &mut Parameters<'_>) -> Self {
        let name = format!("model.layers.{index}");
        let norm = |part: &str, make: &mut Parameters<'_>| {
            RmsNorm::new(&format!("{name}.{part}"), config.hidden_size, config, make)
        };
        let gemma_norm =
            |part: &str, make: &mut Parameters<'_>| (config.norms == Norms::Gemma).then(|| norm(part, make));
        Self {
            input_layernorm: norm("input_layernorm", make),
            self_attn: Attention::new(config, index, make),
            post_attention_layernorm: norm("post_attention_layernorm", make),
            pre_feedforward_layernorm: gemma_norm("pre_feedforward_layernorm", make),
            post_feedforward_layernorm: gemma_norm("post_feedforward_layernorm", make),
            mlp: Mlp::new(config, &format!("{name}.mlp"), make),
        }
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let attended = self
            .self_attn
            .forward(self.input_layernorm.forward(x.clone()), context, cache);
        match (&self.pre_feedforward_layernorm, &self.post_feedforward_layernorm) {
            (Some(before), Some(after)) => {
                let x = x + self.post_attention_layernorm.forward(attended);
                x.clone() + after.forward(self.mlp.forward(before.forward(x)))
            }
            _ => {
                let x = x + attended;
                x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
            }
        }
    }
}
