//! The decoder: embedding, blocks, final norm, output weight. One forward pass serves training, prefill and decoding.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use cadft_kernels::LogitOptions;

use crate::adapter::{DropoutClock, FrozenBase};
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::parameters::{self, NamedParameter, Parameters};

mod attention;
mod beside;
mod block;
mod context;
mod delta_net;
mod embedding;
mod feed_forward;
mod linear;
mod low_rank;
mod mlp;
mod norm;
mod packing;
mod precision;
mod recompute;
mod rope;
mod shared_mlp;
mod sparse_mlp;
mod transparent;
mod weight;

pub use attention::Attention;
use beside::Passed;
pub use block::Block;
pub(crate) use context::Context;
use context::Shared;
pub use delta_net::{CausalConv, DeltaNet};
pub use embedding::Embedding;
use embedding::{InputParts, Start};
pub use feed_forward::FeedForward;
pub use linear::Linear;
pub use low_rank::LowRank;
pub use mlp::Mlp;
pub use norm::RmsNorm;
pub use packing::Packing;
pub use precision::Precision;
pub use recompute::{Recompute, Recorded};
pub use rope::Rope;
pub use shared_mlp::SharedMlp;
pub use sparse_mlp::SparseMlp;
pub use weight::Weight;

/// A decoder-only transformer with its output weight.
#[derive(Module, Debug)]
pub struct CausalLm {
    /// Everything up to the final norm.
    pub model: Decoder,
    /// The output weight; `None` if it is tied to the embedding.
    pub lm_head: Option<Linear>,
}

/// The embedding, the blocks and the final norm.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Token embedding.
    pub embed_tokens: Embedding,
    /// The embedding with a part for each block, in Gemma 4.
    pub embed_tokens_per_layer: Option<Embedding>,
    /// The projection of the token embedding to the inputs of the blocks, in Gemma 4.
    pub per_layer_model_projection: Option<Linear>,
    /// The norm of each part of that projection, in Gemma 4.
    pub per_layer_projection_norm: Option<RmsNorm>,
    /// The blocks, first to last.
    pub layers: Vec<Block>,
    /// The final norm.
    pub norm: RmsNorm,
    /// The factor of embeddings.
    embedding_scale: f64,
    /// The soft-cap of logits.
    #[module(skip)]
    softcap: Option<f64>,
    #[module(skip)]
    shared: Shared,
    /// The random state of adapter dropout; not a parameter.
    #[module(skip)]
    pub(crate) dropout: DropoutClock,
    #[module(skip)]
    recompute: Recompute,
    #[module(skip)]
    pub(crate) precision: Precision,
}

impl CausalLm {
    /// A randomly initialised model: matrices are normal with standard deviation `initializer_range`, norms have factor
    /// 1, biases are 0.
    ///
    /// The values depend on `seed` alone, not on the device. On a device with autodiff the parameters are trainable.
    #[must_use]
    pub fn new(config: &ModelConfig, device: &Device, seed: u64) -> Self {
        Self::random_on_base(config, device, None, seed)
    }

    /// As [`CausalLm::new`], with the linear weights of the blocks packed as `base` says.
    #[must_use]
    pub fn random_on_base(
        config: &ModelConfig,
        device: &Device,
        base: Option<&FrozenBase>,
        seed: u64,
    ) -> Self {
        Self::on_base(config, device, base, &mut |name, shape| {
            parameters::random_values(name, shape, config, seed)
        })
    }

    /// A model with given values: `values` is called with the name and shape of each parameter, in module order.
    #[must_use]
    pub fn with_values(
        config: &ModelConfig,
        device: &Device,
        values: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
    ) -> Self {
        Self::on_base(config, device, None, values)
    }

    /// As [`CausalLm::with_values`], with the linear weights of the blocks packed as `base` says. Each is packed before the
    /// values of the next one are asked for.
    #[must_use]
    pub fn on_base(
        config: &ModelConfig,
        device: &Device,
        base: Option<&FrozenBase>,
        values: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
    ) -> Self {
        let mut make = Parameters { device, base, values };
        let ModelConfig {
            vocab_size,
            hidden_size,
            ..
        } = *config;
        let embed_tokens = Embedding::new("model.embed_tokens", [vocab_size, hidden_size], &mut make);
        let inputs = InputParts::new(config, &mut make);
        let layers = (0..config.num_hidden_layers)
            .map(|layer| Block::new(config, layer, &mut make))
            .collect();
        let norm = RmsNorm::new("model.norm", hidden_size, config, &mut make).scaled(config.logits_scale);
        let lm_head = (!config.tie_word_embeddings).then(|| {
            Linear::new(
                "lm_head",
                [vocab_size, hidden_size],
                linear::Bias::Absent,
                &mut make,
            )
        });
        Self {
            model: Decoder {
                embed_tokens,
                embed_tokens_per_layer: inputs.embedding,
                per_layer_model_projection: inputs.projection,
                per_layer_projection_norm: inputs.norm,
                layers,
                norm,
                embedding_scale: config.embedding_scale,
                softcap: config.final_logit_softcapping,
                shared: Shared::new(config),
                dropout: DropoutClock::default(),
                recompute: Recompute::None,
                precision: Precision::F32,
            },
            lm_head,
        }
    }

    /// The model with a separate output weight. If it was tied, the output weight starts as a copy of the embedding.
    #[must_use]
    pub(crate) fn untied(mut self) -> Self {
        let embedding = &self.model.embed_tokens.weight;
        let (device, shape) = (self.device(), embedding.dims());
        if self.lm_head.is_none() {
            let mut make = Parameters {
                device: &device,
                base: None,
                values: &mut |_, _| embedding.val().to_data().iter::<f32>().collect(),
            };
            let head = Linear::new("lm_head", shape, linear::Bias::Absent, &mut make);
            self.lm_head = Some(head);
        }
        self
    }

    /// Hidden states after the final norm, multiplied by the factor of logits.
    ///
    /// Attention is causal, so sequences padded on the right need no mask: the padding does not affect earlier hidden
    /// states.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, seq]`, each below `vocab_size`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn hidden_states(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        self.model.forward(token_ids, None)
    }

    /// Hidden states after the final norm, for rows with several samples each. Positions restart with every sample, and
    /// samples do not attend to each other.
    ///
    /// # Shapes
    /// - `token_ids`: `[rows, seq]`, each below `vocab_size`
    /// - `packing`: the same number of rows; the samples of a row have at most `seq` tokens in total
    /// - output: `[rows, seq, hidden]`
    ///
    /// # Panics
    /// If `packing` does not fit the shape of `token_ids`.
    #[must_use]
    pub fn hidden_states_packed(&self, token_ids: Tensor<2, Int>, packing: &Packing) -> Tensor<3> {
        let [rows, seq] = token_ids.dims();
        assert_eq!(
            packing.lengths.len(),
            rows,
            "a packing must have the rows of its batch"
        );
        let context = Context::packed(&self.model.shared, seq, packing, &self.device());
        self.model.run(token_ids, &context, None, &mut |_| {}).0
    }

    /// Hidden states after the final norm, for tokens that continue those in `cache`. The new tokens are added to the
    /// cache.
    ///
    /// [`KvCache::set_rows`] gives the slot that each row continues.
    ///
    /// # Shapes
    /// - `token_ids`: `[rows, seq]`
    /// - output: `[rows, seq, hidden]`
    #[must_use]
    pub fn hidden_states_with_cache(&self, token_ids: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        self.model.forward(token_ids, Some(cache))
    }

    /// The embedding output, the output of every block, and the output of the final norm.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, seq]`
    /// - output: `num_hidden_layers + 2` tensors of `[batch, seq, hidden]`
    #[must_use]
    pub fn all_hidden_states(&self, token_ids: Tensor<2, Int>) -> Vec<Tensor<3>> {
        let mut states = Vec::with_capacity(self.model.layers.len() + 2);
        let last = self
            .model
            .forward_observed(token_ids, None, &mut |state| states.push(state.clone()));
        states.push(last);
        states
    }

    /// The matrix that maps hidden states to logits; the embedding if it is tied.
    ///
    /// # Shapes
    /// - output: `[vocab, hidden]`
    #[must_use]
    pub fn output_weight(&self) -> Tensor<2> {
        self.lm_head
            .as_ref()
            .map_or_else(|| self.model.embed_tokens.weight.val(), |head| head.weight.val())
    }

    /// The number format of the model's matrix products.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.model.precision
    }

    /// Largest number of positions in a key cache, if it is limited.
    pub(crate) fn cached_positions(&self) -> Option<usize> {
        self.model.shared.cached_positions()
    }

    /// How logits are computed from hidden states.
    #[must_use]
    pub fn logit_options(&self) -> LogitOptions {
        LogitOptions {
            precision: self.model.precision,
            softcap: self.model.softcap,
        }
    }

    /// The logits of hidden states.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, vocab]`
    #[must_use]
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let logits = precision::project(hidden, self.output_weight(), self.precision());
        match self.model.softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    /// The parameters under their Hugging Face names, in module order.
    #[must_use]
    pub fn named_parameters(&self) -> Vec<NamedParameter> {
        parameters::named_parameters(self)
    }

    /// The device of the parameters, with its autodiff setting.
    #[must_use]
    pub fn device(&self) -> Device {
        self.model.embed_tokens.weight.val().device()
    }
}

impl Decoder {
    fn forward(&self, token_ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3> {
        self.forward_observed(token_ids, cache, &mut |_| {})
    }

    /// The forward pass; calls `observe` with the embedding output and the output of every block.
    fn forward_observed(
        &self,
        token_ids: Tensor<2, Int>,
        cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let [_, seq] = token_ids.dims();
        let weight = self.embed_tokens.weight.val();
        let context = Context::new(&self.shared, seq, cache.as_deref(), &weight);
        self.run(token_ids, &context, cache, observe).0
    }

    /// The forward pass in a given context, and what passed beside it.
    fn run(
        &self,
        token_ids: Tensor<2, Int>,
        context: &Context,
        mut cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(&Tensor<3>),
    ) -> (Tensor<3>, Passed) {
        let [_, seq] = token_ids.dims();
        self.dropout.tick();
        let Start { mut hidden, inputs } = self.start(token_ids);
        let mut passed = Passed::new(inputs, self.layers.len());
        observe(&hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            let source = layer.key_source();
            // A block that shares keys writes those of the other block again, to the same place.
            let layer_cache = (cache.as_deref_mut()).map(|cache| cache.layer(source.unwrap_or(index)));
            let (output, keys) = layer.forward(hidden, passed.beside(index, source), context, layer_cache);
            passed.keep(index, keys);
            hidden = output;
            observe(&hidden);
        }
        if let Some(cache) = cache {
            cache.advance(seq);
        }
        (self.norm.forward(hidden), passed)
    }
}
