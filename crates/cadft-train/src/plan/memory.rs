//! Estimates the memory of training, from shapes alone.
//!
//! ```text
//! program     code, tokenizer, buffers of the matrix products
//! held        4 P weights, less for packed ones + 8 T moments, less in fewer bits and none of those that the host has + 4 T
//!             gradients between micro-batches + 4 T of a reference model
//! + largest of
//!   backward begins    activations of a micro-batch, chunks of logits, gradient of the output weight
//!   backward ends      4 T gradients of this micro-batch, and temporary tensors for the gradient of the embedding
//!   update             4 T gradients; parameters and moments are updated in place
//!   answers            keys and values of the questions that are answered at the same time
//! ```
//!
//! `P` is the number of parameters, `T` the number of trained ones. With several ranks, each has the moments of the
//! parameters that it owns, and in stage 2 their gradients. Without an attention kernel, the scores of attention are
//! activations too; other memory that such backends keep is not counted.
//!
//! A checkpoint shares the tensors of the model while it is written in the background. If the next update comes before
//! it is written, the old tensors are kept in addition to the new ones: [`saving_mib`] is the upper bound of this.

mod attention;
mod base;
mod feed_forward;
mod inputs;
mod moments;
mod reference;
mod share;

pub use reference::OtherModel;
pub use share::Share;

use crate::config::Recipe;
use crate::device::{Body, Kernels};
use crate::plan::largest_pass;
use attention::Attention;
use cadft_core::linear_likelihood::ChunkSize;
use cadft_data::{Packing, Samples};
use cadft_model::adapter::{AdapterTargets, BaseFormat};
use cadft_model::decoder::{Precision, Recompute};
use cadft_model::parameters::expected_parameters;
use cadft_model::{AdapterConfig, AdapterKind, ModelConfig};
use cadft_step::optimizer::{MomentFormat, OptimizerKind};
use cadft_step::ranks::{BUCKET, ZeroStage};
use feed_forward::{FeedForward, largest_block};
use inputs::Inputs;

const MIB: f64 = 1_048_576.0;
/// Memory of the command before it reads a model: code, tokenizer, stacks and buffers of threads.
const PROGRAM: f64 = 64.0 * MIB;
const F32: f64 = 4.0;
const BF16: f64 = 2.0;
/// Number of score matrices that attention keeps without a kernel: products, masked products, exponentials, weights.
const SCORES: f64 = 4.0;

/// The settings that the memory of training depends on, besides the model.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings<'a> {
    /// The adapter, if only an adapter is trained.
    pub adapter: Option<(&'a AdapterConfig, &'a AdapterTargets)>,
    /// The format of the frozen linear weights under the adapter.
    pub base: BaseFormat,
    /// Whether activations are kept.
    pub recompute: Recompute,
    /// The number format of matrix products.
    pub precision: Precision,
    /// Tokens of the largest micro-batch, padding included.
    pub tokens: usize,
    /// Tokens of the longest row, if attention keeps its scores; 0 if a kernel avoids them.
    pub scored: usize,
    /// Whether a step sums the gradients of several micro-batches.
    pub accumulates: bool,
    /// Whether the model that the run began with is kept as a reference.
    pub keeps_reference: bool,
    /// A frozen model of another directory.
    pub other: Option<OtherModel>,
    /// Number of tokens whose keys and values are cached while questions are answered or samples rewritten.
    pub cached: usize,
    /// Number of sequences of that time.
    pub sequences: usize,
    /// How parameters are updated.
    pub kind: OptimizerKind,
    /// How the moments are kept.
    pub moments: MomentFormat,
    /// Whether the device computes in the memory of the host.
    pub is_host: bool,
    /// How this run is shared among ranks.
    pub share: Share,
}

impl<'a> MemorySettings<'a> {
    /// The settings of a recipe with `steps` steps, on a backend with these kernels.
    pub(crate) fn of(
        recipe: &Recipe,
        (kernels, is_host): (Kernels, bool),
        adapter: Option<(&'a AdapterConfig, &'a AdapterTargets)>,
        other: Option<OtherModel>,
        ranks: usize,
        (train, eval, steps): (&Samples, &Samples, usize),
    ) -> Self {
        let pass = largest_pass(recipe, train, steps);
        let section = &recipe.evaluate;
        let answers = section.answers.min(eval.len()) * section.samples;
        let mut slots = answers.min(crate::config::ANSWERED_AT_A_TIME);
        let prompt = if slots > 0 { longest_prompt(eval) } else { 0 };
        let (mut tokens, mut cached) = (pass.tokens, slots * (prompt + section.max_new_tokens));
        let mut row = pass.longest;
        if let Some(rewrite) = &recipe.rewrite {
            // A rewrite may be longer than the original.
            let length = (pass.longest + rewrite.max_new_tokens).min(recipe.data.max_length);
            let rows = pass.tokens.div_ceil(pass.longest.max(1));
            let most = recipe.batch.max_tokens.unwrap_or(rows * length);
            tokens = tokens.max(most);
            row = row.max(length);
            let rewritten = crate::config::GENERATED_AT_A_TIME.min(train.len());
            cached = cached.max(rewritten * length);
            slots = slots.max(rewritten);
        }
        Self {
            adapter,
            base: recipe
                .adapter
                .as_ref()
                .map(|adapter| adapter.base)
                .unwrap_or_default(),
            recompute: recipe.model.recompute,
            precision: recipe.model.precision,
            tokens,
            scored: match kernels.decoder {
                Body::Kernel => 0,
                Body::Portable if recipe.batch.packing == Packing::PaddingFree => tokens,
                Body::Portable => row,
            },
            accumulates: pass.accumulates,
            keeps_reference: recipe.looks_at_reference() || (recipe.keeps_frozen() && other.is_none()),
            other,
            cached,
            sequences: slots,
            kind: recipe.optimizer.kind,
            moments: recipe.optimizer.moments,
            is_host,
            share: Share {
                ranks,
                shards: recipe.batch.shards(),
                stage: recipe.batch.zero_stage,
            },
        }
    }
}

/// The number of tokens in the longest prompt of the evaluation samples.
fn longest_prompt(eval: &Samples) -> usize {
    eval.iter().map(|sample| sample.prompt_len).max().unwrap_or(0)
}

/// Largest resident memory of training, in MiB, without [`saving_mib`].
#[must_use]
pub fn training_mib(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let sizes = Sizes::new(config, settings);
    let Share { ranks, shards, .. } = settings.share;
    let weights = weights(&sizes, config, settings);
    let [other, other_before] = reference::bytes(settings);
    let moments = moments::bytes(config, settings, sizes.owned);
    let held = weights + other + moments + F32 * sizes.reference + base::panel(config, settings);
    let kept = sizes.kept(settings);
    let sums = f64::from((shards / ranks).ilog2());
    let gathered = F32 * (sums * sizes.trained + if settings.accumulates { kept } else { 0.0 });
    let backward = match settings.recompute {
        Recompute::None => sizes.backward(gathered),
        Recompute::Blocks => sizes.backward_by_block(gathered, F32 * kept),
    };
    // The parameters of one exchange, twice: on this device, and in transfer to the host or to other devices.
    let exchange = if ranks > 1 {
        F32 * (kept + sizes.owned) + 2.0 * F32 * sizes.largest.max(BUCKET as f64)
    } else {
        0.0
    };
    let update = F32 * sizes.owned + moments::temporary(settings, sizes.largest);
    let training = held + backward.max(update).max(exchange).max(sizes.answers);
    // A tensor as it is read, and as it is passed to the device.
    let loading = weights + F32 * 2.0 * sizes.largest;
    (PROGRAM + training.max(loading).max(weights + other_before)) / MIB
}

/// What the weights take, in MiB.
#[must_use]
pub fn weights_mib(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    weights(&Sizes::new(config, settings), config, settings) / MIB
}

fn weights(sizes: &Sizes, config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    F32 * sizes.weights - base::spared(config, settings)
}

/// Values that the rank has that has most, between the micro-batches of a step: of moments, and of gradients.
#[must_use]
pub fn held_values(config: &ModelConfig, settings: &MemorySettings<'_>) -> [f64; 2] {
    let sizes = Sizes::new(config, settings);
    [2.0 * sizes.owned, sizes.kept(settings)]
}

/// Upper bound of the additional memory while a checkpoint is written in the background, in MiB: the weights and
/// moments before an update.
#[must_use]
pub fn saving_mib(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let sizes = Sizes::new(config, settings);
    (F32 * sizes.trained + moments::bytes(config, settings, sizes.owned)) / MIB
}

/// Numbers of parameter elements, and bytes of everything else.
struct Sizes {
    layers: f64,
    /// All parameters, including those of an adapter.
    weights: f64,
    /// Trained parameters.
    trained: f64,
    /// Trained parameters that a rank owns, at most.
    owned: f64,
    /// Parameters of the reference model that it does not share with the trained model.
    reference: f64,
    /// The largest parameter.
    largest: f64,
    /// Activations that one block keeps for its backward pass.
    block: f64,
    /// Gradients within one block, and of its parameters.
    block_gradients: f64,
    /// Hidden states of all tokens.
    hidden: f64,
    /// Temporary memory of the fused likelihood.
    logits: f64,
    /// The gradient of the output weight, if it is trained.
    output: f64,
    /// The gradient of the embedding, if it is trained.
    embedding: f64,
    /// That of the second embedding of Gemma 4.
    second_embedding: f64,
    /// What the inputs of the blocks of Gemma 4 keep.
    inputs: f64,
    is_tied: bool,
    answers: f64,
}

impl Sizes {
    fn new(config: &ModelConfig, settings: &MemorySettings<'_>) -> Self {
        let shapes = expected_parameters(config);
        let sizes = || {
            shapes
                .iter()
                .map(|(name, shape)| (name.as_str(), shape.iter().product::<usize>() as f64))
        };
        let parameters: f64 = sizes().map(|(_, size)| size).sum();
        let largest = sizes().map(|(_, size)| size).fold(0.0, f64::max);
        let tokens = settings.tokens as f64;
        let layers = config.num_hidden_layers as f64;
        let vocabulary = (config.vocab_size * config.hidden_size) as f64;
        let trains = |module: &str| match settings.adapter {
            None => true,
            Some((_, targets)) => targets.saved.iter().any(|saved| saved.ends_with(module)),
        };
        let is_tied = config.tie_word_embeddings;
        let trains_embedding = trains("embed_tokens") || (is_tied && trains("lm_head"));
        let trains_output = if is_tied {
            trains_embedding
        } else {
            trains("lm_head")
        };
        let trained = match settings.adapter {
            None => parameters,
            Some((_, targets)) => targets.trainable as f64,
        };
        let of_block = match settings.adapter {
            None => largest_block(sizes()),
            Some(_) => trained / layers,
        };
        let vocab = config.vocab_size as f64;
        let other_stays = settings.other.is_some_and(|other| other.stays);
        let chunk = F32 * vocab * tokens.min(ChunkSize::Auto.rows(config.vocab_size) as f64);
        let (gradient, when) = (F32 * vocabulary, |holds: bool| f64::from(u8::from(holds)));
        let replaced = match settings.adapter {
            None => parameters,
            Some(_) => vocabulary * (when(trains_embedding) + when(trains_output && !is_tied)),
        };
        let linear = config.linear_attention.as_ref();
        let (recurrent, state) = linear.map_or((0, 0), |linear| (linear.blocks(), linear.state()));
        let states = (recurrent * state) as f64;
        let cached = 2 * attention::cached_width(config);
        let inputs = Inputs::new(config);
        Self {
            layers,
            weights: parameters + if settings.adapter.is_some() { trained } else { 0.0 },
            trained,
            owned: moments::owned(config, settings, trained),
            reference: replaced * when(settings.keeps_reference),
            largest,
            block: tokens * token_bytes(config, settings),
            block_gradients: F32
                * tokens
                * (config.hidden_size as f64 + FeedForward::largest(config).gradients)
                + F32 * of_block,
            hidden: F32 * tokens * config.hidden_size as f64,
            // The product for the gradient of the output weight copies the chunk. A reference model has a chunk too. A
            // CPU keeps the rounded weight.
            logits: chunk * (1.0 + when(trains_output) + when(settings.keeps_reference || other_stays))
                + F32 * vocabulary * when(settings.precision == Precision::Bf16),
            output: gradient * when(trains_output),
            embedding: gradient * when(trains_embedding),
            second_embedding: F32 * inputs.embedding * when(trains("embed_tokens_per_layer")),
            inputs: F32 * tokens * inputs.of_model,
            is_tied,
            answers: F32 * ((settings.cached * cached) as f64 + settings.sequences as f64 * states),
        }
    }

    /// Gradients that stay until the step is done: those of this rank, or what it owns.
    fn kept(&self, settings: &MemorySettings<'_>) -> f64 {
        let Share { ranks, shards, stage } = settings.share;
        let by_block = ranks > 1 && ranks == shards && settings.recompute == Recompute::Blocks;
        if stage == ZeroStage::Two && by_block {
            self.owned
        } else {
            self.trained
        }
    }

    /// Peak memory of a backward pass, without weights and moments, if activations are kept.
    fn backward(&self, gathered: f64) -> f64 {
        // The last hidden states, before and after the final norm.
        let activations = self.layers * self.block + 2.0 * self.hidden + self.inputs;
        let begins = gathered + activations + self.logits + self.output;
        // A tensor of zeros, the scattered gradient, and, if tied, the sum with the gradient of the output weight.
        let scattered = if self.is_tied { 3.0 } else { 2.0 };
        let ends = gathered + F32 * self.trained + scattered * self.embedding + 2.0 * self.second_embedding;
        begins.max(ends)
    }

    /// As [`Sizes::backward`], if activations are recomputed: the gradients of a block are added as soon as they are
    /// computed.
    fn backward_by_block(&self, gathered: f64, kept: f64) -> f64 {
        let inputs = (self.layers + 1.0) * self.hidden + self.inputs;
        let begins = gathered + inputs + 2.0 * self.hidden + self.logits + self.output;
        let graph = self.block + self.block_gradients;
        let first_block = gathered + inputs + self.output + graph;
        let last_block = kept + self.output + graph;
        let ends = kept + self.output + 2.0 * (self.embedding + self.second_embedding);
        begins.max(first_block).max(last_block).max(ends)
    }
}

/// Bytes for each token that one block keeps for its backward pass.
fn token_bytes(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let hidden = config.hidden_size as f64;
    let feed_forward = FeedForward::largest(config);
    let norms = config.norms.count() as f64 * hidden;
    let attention = Attention::mean(config, settings.scored);
    // The inputs of the linear layers, shared by layers with the same input. In bf16 they are kept only for the
    // gradients of weights.
    let linear = match settings.precision {
        Precision::F32 => F32 * (attention.inputs + feed_forward.inputs),
        Precision::Bf16 if settings.adapter.is_some() => 0.0,
        Precision::Bf16 => BF16 * (attention.inputs + feed_forward.inputs),
    };
    let adapter = settings.adapter.map_or(0.0, |(adapter, targets)| {
        let layers = targets.layers.iter();
        let all: f64 = layers
            .map(|(_, shape)| update_bytes(adapter, *shape, settings.precision))
            .sum();
        all / config.num_hidden_layers as f64
    });
    F32 * (norms + attention.kept + feed_forward.kept + Inputs::new(config).of_block) + linear + adapter
}

/// Bytes for each token that the low-rank update of a linear layer keeps.
fn update_bytes(adapter: &AdapterConfig, [output, input]: [usize; 2], precision: Precision) -> f64 {
    let (output, input, rank) = (output as f64, input as f64, adapter.rank as f64);
    let factors = match precision {
        Precision::F32 => F32 * rank,
        Precision::Bf16 => BF16 * (input + rank),
    };
    let is_dropped = adapter.dropout > 0.0;
    // The mask, and the masked input.
    let dropout = if is_dropped { 2.0 * input } else { 0.0 };
    let outputs = match (adapter.kind, is_dropped) {
        (AdapterKind::Lora, _) => 0.0,
        (AdapterKind::Dora, false) => output,
        (AdapterKind::Dora, true) => 2.0 * output,
    };
    factors + F32 * (dropout + outputs)
}
