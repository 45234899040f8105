//! The decoder: embedding, blocks, final norm, output weight. One forward serves training, prefill and decode.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use cadft_kernels::LogitOptions;

use crate::adapter::DropoutClock;
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::fused;
use crate::parameters::{self, NamedParameter, Parameters};

mod attention;
mod block;
mod context;
mod linear;
mod low_rank;
mod mlp;
mod norm;
mod packing;
mod precision;
mod recompute;
mod rope;
mod shared_mlp;

pub use attention::Attention;
pub use block::Block;
pub(crate) use context::Context;
use context::Shared;
pub use linear::Linear;
pub use low_rank::LowRank;
pub use mlp::Mlp;
pub use norm::RmsNorm;
pub use packing::Packing;
pub use precision::Precision;
pub use recompute::{Recompute, Recorded};
pub use rope::Rope;
pub use shared_mlp::SharedMlp;

/// A decoder-only transformer with its output weight.
#[derive(Module, Debug)]
pub struct CausalLm {
    /// Everything up to the final norm.
    pub model: Decoder,
    /// The output weight, absent where the embedding is used in its place.
    pub lm_head: Option<Linear>,
}

/// The embedding, the blocks and the final norm.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Token embedding.
    pub embed_tokens: Embedding,
    /// The blocks, first to last.
    pub layers: Vec<Block>,
    /// The final norm.
    pub norm: RmsNorm,
    /// What embeddings are multiplied by.
    embedding_scale: f64,
    /// The soft-cap of logits.
    #[module(skip)]
    softcap: Option<f64>,
    #[module(skip)]
    shared: Shared,
    /// What adapter dropout draws from, not a parameter.
    #[module(skip)]
    pub(crate) dropout: DropoutClock,
    #[module(skip)]
    recompute: Recompute,
    #[module(skip)]
    pub(crate) precision: Precision,
}

/// Rows of a matrix looked up by token id.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocab, hidden]`.
    pub weight: Param<Tensor<2>>,
}

impl CausalLm {
    /// A randomly initialised model: matrices are normal with standard deviation `initializer_range`, norms multiply by
    /// 1, biases are 0.
    ///
    /// The values depend on `seed` alone, not on the device. On a device with autodiff the parameters are trainable.
    #[must_use]
    pub fn new(config: &ModelConfig, device: &Device, seed: u64) -> Self {
        Self::with_values(config, device, &mut |name, shape| {
            parameters::random_values(name, shape, config, seed)
        })
    }

    /// A model whose parameter values are asked for by name and shape, in module order.
    #[must_use]
    pub fn with_values(
        config: &ModelConfig,
        device: &Device,
        values: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
    ) -> Self {
        let mut make = Parameters { device, values };
        let ModelConfig {
            vocab_size,
            hidden_size,
            ..
        } = *config;
        let embed_tokens = Embedding {
            weight: make.param("model.embed_tokens.weight", [vocab_size, hidden_size]),
        };
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

    /// The model with an output weight of its own, which begins as the embedding where that was used in its place.
    #[must_use]
    pub(crate) fn untied(mut self) -> Self {
        let embedding = &self.model.embed_tokens.weight;
        let (device, shape) = (self.device(), embedding.dims());
        if self.lm_head.is_none() {
            let mut make = Parameters {
                device: &device,
                values: &mut |_, _| embedding.val().to_data().iter::<f32>().collect(),
            };
            let head = Linear::new("lm_head", shape, linear::Bias::Absent, &mut make);
            self.lm_head = Some(head);
        }
        self
    }

    /// Hidden states after the final norm, times what logits are multiplied by.
    ///
    /// Attention is causal, so sequences padded on the right need no mask: their hidden states up to their own length
    /// do not depend on the padding.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, seq]`, each below `vocab_size`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn hidden_states(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        self.model.forward(token_ids, None)
    }

    /// Hidden states after the final norm of rows that hold several samples each: positions restart with every sample,
    /// and no sample sees another.
    ///
    /// # Shapes
    /// - `token_ids`: `[rows, seq]`, each below `vocab_size`
    /// - `packing`: as many rows, each with samples of at most `seq` tokens together
    /// - output: `[rows, seq, hidden]`
    ///
    /// # Panics
    /// When `packing` does not fit the shape of `token_ids`.
    #[must_use]
    pub fn hidden_states_packed(&self, token_ids: Tensor<2, Int>, packing: &Packing) -> Tensor<3> {
        let [rows, seq] = token_ids.dims();
        assert_eq!(
            packing.lengths.len(),
            rows,
            "a packing must have the rows of its batch"
        );
        let context = Context::packed(&self.model.shared, seq, packing, &self.device());
        self.model.run(token_ids, &context, None, &mut |_| {})
    }

    /// Hidden states after the final norm of tokens that follow those already in `cache`, which takes them in.
    ///
    /// Row by row, the tokens go on in the slots that [`KvCache::set_rows`] named.
    ///
    /// # Shapes
    /// - `token_ids`: `[rows, seq]`
    /// - output: `[batch, seq, hidden]`
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

    /// The matrix that turns hidden states into logits: the embedding where tied.
    ///
    /// # Shapes
    /// - output: `[vocab, hidden]`
    #[must_use]
    pub fn output_weight(&self) -> Tensor<2> {
        self.lm_head
            .as_ref()
            .map_or_else(|| self.model.embed_tokens.weight.val(), |head| head.weight.val())
    }

    /// The number format in which the model multiplies.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.model.precision
    }

    /// How many positions a cache of keys may hold, if that is limited.
    pub(crate) fn cached_positions(&self) -> Option<usize> {
        self.model.shared.cached_positions()
    }

    /// How logits are made of hidden states.
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

    /// The forward pass, showing the embedding output and the output of every block to `observe`.
    fn forward_observed(
        &self,
        token_ids: Tensor<2, Int>,
        cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let [_, seq] = token_ids.dims();
        let weight = self.embed_tokens.weight.val();
        let context = Context::new(&self.shared, seq, cache.as_deref(), &weight);
        self.run(token_ids, &context, cache, observe)
    }

    /// The input of the first block, `[batch, seq, hidden]`.
    fn embed(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        let weight = self.embed_tokens.weight.val();
        let ([batch, seq], [_, size]) = (token_ids.dims(), weight.dims());
        let hidden = fused::select_rows(weight, token_ids.reshape([batch * seq]));
        let hidden = hidden.reshape([batch, seq, size]);
        if self.embedding_scale == 1.0 {
            hidden
        } else {
            hidden * self.embedding_scale
        }
    }

    /// The forward pass under a given context.
    fn run(
        &self,
        token_ids: Tensor<2, Int>,
        context: &Context,
        mut cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let [_, seq] = token_ids.dims();
        self.dropout.tick();
        let mut hidden = self.embed(token_ids);
        observe(&hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            let layer_cache = cache.as_deref_mut().map(|cache| cache.layer(index));
            hidden = layer.forward(hidden, context, layer_cache);
            observe(&hidden);
        }
        if let Some(cache) = cache {
            cache.advance(seq);
        }
        self.norm.forward(hidden)
    }
}
