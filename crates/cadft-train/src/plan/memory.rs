//! The memory that training takes, from shapes alone.
//!
//! ```text
//! program     code, tokenizer, buffers of the matrix products
//! held        4 P weights + 8 T moments, and between micro-batches 4 T gradients; 4 T of a reference model
//! + largest of
//!   backward begins    activations of a micro-batch, chunks of logits, gradient of the output weight
//!   backward ends      4 T gradients of this micro-batch; those of the embedding are made beside them
//!   update             4 T gradients; parameters and moments are updated in place
//!   answers            keys and values of the questions that are answered at a time
//! ```
//!
//! `P` parameters, `T` of them trained. One of several ranks has the moments of what it owns, in stage 2 the gradients too. Where attention has no kernel of its own, its scores are activations too; what such
//! backends keep besides is not counted.
//!
//! A checkpoint shares the tensors of the model while it is written in the background. Where the next update comes
//! before that is done, the old ones are kept beside the new: [`saving_mib`] is how much that is at most.

use crate::config::Recipe;
use crate::device::{Body, Kernels};
use crate::plan::largest_pass;
use cadft_core::linear_likelihood::ChunkSize;
use cadft_data::Samples;
use cadft_model::adapter::AdapterTargets;
use cadft_model::config::QueryKeyNorm;
use cadft_model::decoder::{Precision, Recompute};
use cadft_model::parameters::expected_parameters;
use cadft_model::{AdapterConfig, AdapterKind, ModelConfig};
use cadft_step::ranks::{BUCKET, ZeroStage, owned_values};

const MIB: f64 = 1_048_576.0;
/// The command before it reads a model: its code, a tokenizer, the stacks and buffers of its threads.
const PROGRAM: f64 = 64.0 * MIB;
const F32: f64 = 4.0;
const BF16: f64 = 2.0;
/// Matrices of scores that attention keeps where it has no kernel: products, masked ones, their exponentials, weights.
const SCORES: f64 = 4.0;

/// What the memory of training depends on besides the model.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings<'a> {
    /// What is trained, where that is not everything.
    pub adapter: Option<(&'a AdapterConfig, &'a AdapterTargets)>,
    /// Whether activations are kept.
    pub recompute: Recompute,
    /// The number format of products.
    pub precision: Precision,
    /// Tokens of the largest micro-batch, padding included.
    pub tokens: usize,
    /// Tokens of the longest row where the scores of attention are kept; 0 where a kernel needs none of them.
    pub scored: usize,
    /// Whether a step adds the gradients of several micro-batches.
    pub accumulates: bool,
    /// Whether the model that the run began with is kept.
    pub keeps_reference: bool,
    /// Tokens whose keys and values are kept while questions are answered or samples rewritten.
    pub cached: usize,
    /// What other ranks hold.
    pub share: Share,
}

/// How moments and gradients are shared out among ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The ranks of the run.
    pub ranks: usize,
    /// The shards that they compute.
    pub shards: usize,
    /// What only owners keep.
    pub stage: ZeroStage,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            ranks: 1,
            shards: 1,
            stage: ZeroStage::One,
        }
    }
}

impl<'a> MemorySettings<'a> {
    /// Those of a recipe of `steps` steps on a backend with these kernels.
    pub(crate) fn of(
        recipe: &Recipe,
        kernels: Kernels,
        adapter: Option<(&'a AdapterConfig, &'a AdapterTargets)>,
        ranks: usize,
        (train, eval, steps): (&Samples, &Samples, usize),
    ) -> Self {
        let pass = largest_pass(recipe, train, steps);
        let section = &recipe.evaluate;
        let answers = section.answers.min(eval.len()) * section.samples;
        let slots = answers.min(crate::config::ANSWERED_AT_A_TIME);
        let prompt = if slots > 0 { longest_prompt(eval) } else { 0 };
        let (mut tokens, mut cached) = (pass.tokens, slots * (prompt + section.max_new_tokens));
        let mut row = pass.longest;
        if let Some(rewrite) = &recipe.rewrite {
            // A rewrite may be longer than what it replaces.
            let length = (pass.longest + rewrite.max_new_tokens).min(recipe.data.max_length);
            let rows = pass.tokens.div_ceil(pass.longest.max(1));
            let most = recipe.batch.max_tokens.unwrap_or(rows * length);
            tokens = tokens.max(most);
            row = row.max(length);
            cached = cached.max(crate::config::GENERATED_AT_A_TIME.min(train.len()) * length);
        }
        Self {
            adapter,
            recompute: recipe.model.recompute,
            precision: recipe.model.precision,
            tokens,
            scored: match kernels.decoder {
                Body::Kernel => 0,
                Body::Portable => row,
            },
            accumulates: pass.accumulates,
            keeps_reference: recipe.looks_at_reference(),
            cached,
            share: Share {
                ranks,
                shards: recipe.batch.shards(),
                stage: recipe.batch.zero_stage,
            },
        }
    }
}

/// The longest prompt among evaluation samples.
fn longest_prompt(eval: &Samples) -> usize {
    eval.iter().map(|sample| sample.prompt_len).max().unwrap_or(0)
}

/// The largest resident memory of training, in MiB, beside what [`saving_mib`] says.
#[must_use]
pub fn training_mib(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let sizes = Sizes::new(config, settings);
    let Share { ranks, shards, stage } = settings.share;
    let held = F32 * (sizes.weights + 2.0 * sizes.owned + sizes.reference);
    let by_block = ranks > 1 && ranks == shards && settings.recompute == Recompute::Blocks;
    // Gradients that stay until the step is done: those of this rank, or what it owns; and sums of its shards.
    let kept = if stage == ZeroStage::Two && by_block {
        sizes.owned
    } else {
        sizes.trained
    };
    let sums = f64::from((shards / ranks).ilog2());
    let gathered = F32 * (sums * sizes.trained + if settings.accumulates { kept } else { 0.0 });
    let backward = match settings.recompute {
        Recompute::None => sizes.backward(gathered),
        Recompute::Blocks => sizes.backward_by_block(gathered, F32 * kept),
    };
    // Parameters that travel together, twice: to and from the host, or to other devices.
    let exchange = if ranks > 1 {
        F32 * (kept + sizes.owned) + 2.0 * F32 * sizes.largest.max(BUCKET as f64)
    } else {
        0.0
    };
    let update = F32 * sizes.owned;
    let training = held + backward.max(update).max(exchange).max(sizes.answers);
    // A tensor as it is read, and as it is given to the device.
    let loading = F32 * (sizes.weights + 2.0 * sizes.largest);
    (PROGRAM + training.max(loading)) / MIB
}

/// What may come on top of [`training_mib`] while a checkpoint is written beside the steps, in MiB: weights and moments
/// before an update.
#[must_use]
pub fn saving_mib(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let sizes = Sizes::new(config, settings);
    F32 * (sizes.trained + 2.0 * sizes.owned) / MIB
}

/// Settings that take less memory, each with the ones before it, and what training takes with them, in MiB.
pub(crate) fn ways(config: &ModelConfig, settings: &MemorySettings<'_>) -> Vec<(&'static str, f64)> {
    let mut settings = *settings;
    let mut ways = vec![];
    if settings.recompute == Recompute::None {
        settings.recompute = Recompute::Blocks;
        ways.push(("model.recompute = \"blocks\"", training_mib(config, &settings)));
    }
    if settings.share.ranks > 1 && settings.share.stage == ZeroStage::One {
        settings.share.stage = ZeroStage::Two;
        ways.push(("batch.zero-stage = 2", training_mib(config, &settings)));
    }
    ways
}

/// Elements of parameters, and bytes of everything else.
struct Sizes {
    layers: f64,
    /// Parameters, those of an adapter too.
    weights: f64,
    /// Those that are trained.
    trained: f64,
    /// Those of them that the rank owns that owns most.
    owned: f64,
    /// Those of the reference model that are not the trained model's too.
    reference: f64,
    /// The largest parameter.
    largest: f64,
    /// What one block keeps for its backward pass.
    block: f64,
    /// Gradients on their way through one block, and those of its parameters.
    block_gradients: f64,
    /// Hidden states of all tokens.
    hidden: f64,
    /// What the fused likelihood holds at a time.
    logits: f64,
    /// The gradient of the output weight, where it is trained.
    output: f64,
    /// The same of the embedding.
    embedding: f64,
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
        let in_blocks: f64 = sizes()
            .filter(|(name, _)| name.contains(".layers."))
            .map(|(_, size)| size)
            .sum();
        let vocab = config.vocab_size as f64;
        let chunk = F32 * vocab * tokens.min(ChunkSize::Auto.rows(config.vocab_size) as f64);
        let (gradient, when) = (F32 * vocabulary, |holds: bool| f64::from(u8::from(holds)));
        let replaced = match settings.adapter {
            None => parameters,
            Some(_) => vocabulary * (when(trains_embedding) + when(trains_output && !is_tied)),
        };
        let key = (config.num_key_value_heads * config.head_dim) as f64;
        Self {
            layers,
            weights: parameters + if settings.adapter.is_some() { trained } else { 0.0 },
            trained,
            owned: owned(settings, &shapes, trained),
            reference: replaced * when(settings.keeps_reference),
            largest,
            block: tokens * token_bytes(config, settings),
            block_gradients: F32 * tokens * (config.hidden_size + 3 * config.intermediate_size) as f64
                + F32 * in_blocks.min(trained) / layers,
            hidden: F32 * tokens * config.hidden_size as f64,
            // The product that makes the gradient of the output weight packs a copy of the chunk; a reference model has one
            // of its own; a CPU holds the weight that it has rounded.
            logits: chunk * (1.0 + when(trains_output) + when(settings.keeps_reference))
                + F32 * vocabulary * when(settings.precision == Precision::Bf16),
            output: gradient * when(trains_output),
            embedding: gradient * when(trains_embedding),
            is_tied,
            answers: F32 * settings.cached as f64 * layers * 2.0 * key,
        }
    }

    /// The most that a backward pass holds besides weights and moments, with activations kept.
    fn backward(&self, gathered: f64) -> f64 {
        // The last hidden states before and after the final norm.
        let activations = self.layers * self.block + 2.0 * self.hidden;
        let begins = gathered + activations + self.logits + self.output;
        // Zeros, what is scattered into them, and, tied, the sum with what the output weight has.
        let scattered = if self.is_tied { 3.0 } else { 2.0 };
        let ends = gathered + F32 * self.trained + scattered * self.embedding;
        begins.max(ends)
    }

    /// The same with activations recomputed: the gradients of a block are added as soon as they are there.
    fn backward_by_block(&self, gathered: f64, kept: f64) -> f64 {
        let inputs = (self.layers + 1.0) * self.hidden;
        let begins = gathered + inputs + 2.0 * self.hidden + self.logits + self.output;
        let graph = self.block + self.block_gradients;
        let first_block = gathered + inputs + self.output + graph;
        let last_block = kept + self.output + graph;
        let ends = kept + self.output + 2.0 * self.embedding;
        begins.max(first_block).max(last_block).max(ends)
    }
}

/// Trained values that the rank owns that owns most.
fn owned(settings: &MemorySettings<'_>, shapes: &[(String, Vec<usize>)], trained: f64) -> f64 {
    let Share { ranks, shards, .. } = settings.share;
    if ranks == 1 {
        return trained;
    }
    let of = |shape: &[usize]| [shape[0], shape.iter().product()];
    let sizes: Vec<[usize; 2]> = match settings.adapter {
        None => shapes.iter().map(|(_, shape)| of(shape)).collect(),
        Some((adapter, targets)) => {
            let saved = shapes.iter().filter(|(name, _)| {
                let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
                targets.saved.iter().any(|saved| saved == module)
            });
            let updates = (targets.layers.iter())
                .flat_map(|(_, [output, input])| [[adapter.rank, *input], [*output, adapter.rank]]);
            (saved.map(|(_, shape)| of(shape)))
                .chain(updates.map(|shape| of(&shape)))
                .collect()
        }
    };
    let most = owned_values(&sizes, shards, ranks).into_iter().max();
    most.map_or(trained, |most| most as f64)
}

/// Bytes for each token that one block keeps for its backward pass.
fn token_bytes(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let width = |heads: usize| (heads * config.head_dim) as f64;
    let (query, key) = (
        width(config.num_attention_heads),
        width(config.num_key_value_heads),
    );
    let (hidden, intermediate) = (config.hidden_size as f64, config.intermediate_size as f64);
    let norms = config.norms.count() as f64 * hidden;
    let head_norms = if config.qk_norm == QueryKeyNorm::Absent {
        0.0
    } else {
        query + key
    };
    // Query and output, key and value, by head; one number for each head.
    let attention = 2.0 * query + 2.0 * key + config.num_attention_heads as f64;
    let gated = 2.0 * intermediate;
    // The inputs of the linear layers, which those with the same input share; in bf16 they are kept for the gradients of
    // weights only.
    let linear = match settings.precision {
        Precision::F32 => F32 * (2.0 * hidden + query + intermediate),
        Precision::Bf16 if settings.adapter.is_some() => 0.0,
        Precision::Bf16 => BF16 * (2.0 * hidden + query + intermediate),
    };
    let adapter = settings.adapter.map_or(0.0, |(adapter, targets)| {
        let layers = targets.layers.iter();
        let all: f64 = layers
            .map(|(_, shape)| update_bytes(adapter, *shape, settings.precision))
            .sum();
        all / config.num_hidden_layers as f64
    });
    let scores = SCORES * (config.num_attention_heads * settings.scored) as f64;
    F32 * (norms + head_norms + attention + scores + gated) + linear + adapter
}

/// Bytes for each token that the update of a linear layer keeps.
fn update_bytes(adapter: &AdapterConfig, [output, input]: [usize; 2], precision: Precision) -> f64 {
    let (output, input, rank) = (output as f64, input as f64, adapter.rank as f64);
    let factors = match precision {
        Precision::F32 => F32 * rank,
        Precision::Bf16 => BF16 * (input + rank),
    };
    let is_dropped = adapter.dropout > 0.0;
    // The mask, and what it leaves of the input.
    let dropout = if is_dropped { 2.0 * input } else { 0.0 };
    let outputs = match (adapter.kind, is_dropped) {
        (AdapterKind::Lora, _) => 0.0,
        (AdapterKind::Dora, false) => output,
        (AdapterKind::Dora, true) => 2.0 * output,
    };
    factors + F32 * (dropout + outputs)
}
