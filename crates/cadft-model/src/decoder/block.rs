//! One block: attention and feed-forward, each on a normalised input and added to the residual stream.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Attention, Context, Mlp, RmsNorm};
use crate::cache::LayerCache;
use crate::config::ModelConfig;
use crate::parameters::Parameters;

/// One block of the decoder.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: Attention,
    /// Norm before the feed-forward block.
    pub post_attention_layernorm: RmsNorm,
    /// Feed-forward block.
    pub mlp: Mlp,
}

impl Block {
    pub(crate) fn new(config: &ModelConfig, name: &str, make: &mut Parameters<'_>) -> Self {
        Self {
            input_layernorm: RmsNorm::new(&format!("{name}.input_layernorm"), config, make),
            self_attn: Attention::new(config, &format!("{name}.self_attn"), make),
            post_attention_layernorm: RmsNorm::new(&format!("{name}.post_attention_layernorm"), config, make),
            mlp: Mlp::new(config, &format!("{name}.mlp"), make),
        }
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [batch, seq, hidden]
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let x = x.clone()
            + self
                .self_attn
                .forward(self.input_layernorm.forward(x), context, cache);
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}
