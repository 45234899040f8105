//! `cadft model`.

mod convert;
mod diff;
mod logits;
mod merge;
mod modelfile;
mod quality;

pub(crate) use convert::convert;
pub(crate) use diff::diff;
pub(crate) use merge::merge;

pub(super) use diff::Line;

use crate::args::{DtypeName, ModelInspectArgs};
use crate::console::{count, next};
use crate::model::{self, Directories};
use crate::output;
use anyhow::Result;
use cadft_model::decoder::{Precision, Recompute};
use cadft_model::parameters::expected_parameters;
use cadft_model::{AdapterKind, BaseFormat, Dtype, ModelConfig, adapter, flops};
use cadft_step::optimizer::{MomentFormat, OptimizerKind};
use cadft_train::config::AdapterSection;
use cadft_train::plan::memory::{MemorySettings, Share, training_mib};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// The facts of `config.json` and the tokenizer.
#[derive(Serialize, JsonSchema)]
pub(super) struct Inspection {
    /// The adapter, if the directory holds one; the other keys describe its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<InspectedAdapter>,
    /// The family, as `config.json` has it.
    model_type: String,
    /// Its parameters.
    parameters: usize,
    /// Layers.
    num_hidden_layers: usize,
    /// Width of the hidden states.
    hidden_size: usize,
    /// Query heads of a layer.
    num_attention_heads: usize,
    /// Key and value heads of a layer.
    num_key_value_heads: usize,
    /// Tokens that it knows.
    vocab_size: usize,
    /// The longest sequence.
    max_position_embeddings: usize,
    /// Whether the input embeddings are the output matrix too.
    tie_word_embeddings: bool,
    /// Whether it has a chat template.
    has_chat_template: bool,
    /// Tokens that end an answer.
    stop_tokens: Vec<String>,
    /// Operations of a forward pass for each token of a sequence of `context` tokens.
    forward_flops: f64,
    /// The same for forward and backward pass.
    training_flops: f64,
    /// Length of the sequence for which operations and memory are counted, in tokens.
    context: usize,
    /// Memory in MiB.
    memory_mib: Memory,
}

/// The facts of an adapter's configuration.
#[derive(Serialize, JsonSchema)]
struct InspectedAdapter {
    /// The model of the adapter.
    base: String,
    /// The kind of update.
    kind: AdapterKind,
    /// Its rank.
    rank: usize,
    /// Its alpha.
    alpha: f64,
}

impl InspectedAdapter {
    fn read(directory: &Path, base: &Path) -> Result<Self> {
        let (config, _) = adapter::read_config(directory)?;
        Ok(Self {
            base: base.to_string_lossy().into_owned(),
            kind: config.kind,
            rank: config.rank,
            alpha: config.alpha,
        })
    }

    fn described(&self) -> String {
        let kind = match self.kind {
            AdapterKind::Dora => "DoRA",
            AdapterKind::Lora => "LoRA",
        };
        format!(
            "{kind} of rank {}, alpha {}, of the model `{}`",
            self.rank, self.alpha, self.base
        )
    }
}

/// Memory of inference and of training with several settings, one sequence of `context` tokens at a time.
#[derive(Serialize, JsonSchema)]
struct Memory {
    /// The weights alone, in f32.
    weights_f32: f64,
    /// The same in bf16.
    weights_bf16: f64,
    /// Training of all weights.
    training: f64,
    /// The same with `model.recompute = "blocks"`.
    training_recompute: f64,
    /// Training of a LoRA adapter with its defaults.
    training_lora: f64,
    /// The same with `model.recompute = "blocks"`.
    training_lora_recompute: f64,
}

/// Largest value of `context`, in tokens.
const CONTEXT: usize = 2048;

pub(crate) fn inspect(args: &ModelInspectArgs) -> Result<()> {
    let Directories { base, adapter } = model::directories(&args.directory, None)?;
    let config = ModelConfig::from_file(&base.join("config.json"))?;
    let tokenizer = model::tokenizer(&args.directory, None)?;
    let adapter = adapter
        .map(|adapter| InspectedAdapter::read(&adapter, &base))
        .transpose()?;
    let stop_tokens = tokenizer.stop_token_ids().iter();
    let parameters = expected_parameters(&config)
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    let context = CONTEXT.min(config.max_position_embeddings);
    let inspection = Inspection {
        adapter,
        parameters,
        forward_flops: flops::forward(&config, context),
        training_flops: flops::training(&config, context),
        context,
        memory_mib: memory(&config, parameters, context),
        num_hidden_layers: config.num_hidden_layers,
        hidden_size: config.hidden_size,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        vocab_size: config.vocab_size,
        max_position_embeddings: config.max_position_embeddings,
        tie_word_embeddings: config.tie_word_embeddings,
        has_chat_template: tokenizer.chat_template().is_ok(),
        stop_tokens: stop_tokens
            .map(|&id| tokenizer.token(id).unwrap_or_else(|| id.to_string()))
            .collect(),
        model_type: config.model_type,
    };
    if args.json {
        return output::json_line(&inspection);
    }
    show(inspection)?;
    next::inspected(&args.directory);
    Ok(())
}

fn show(inspection: Inspection) -> Result<()> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let adapter = inspection.adapter.as_ref().map(InspectedAdapter::described);
    let stop_tokens = match inspection.stop_tokens.as_slice() {
        [] => "none".to_owned(),
        tokens => tokens.join(" "),
    };
    let rows = [
        ("model type", inspection.model_type),
        ("parameters", count(inspection.parameters)),
        ("layers", inspection.num_hidden_layers.to_string()),
        ("hidden size", inspection.hidden_size.to_string()),
        ("query heads", inspection.num_attention_heads.to_string()),
        ("key and value heads", inspection.num_key_value_heads.to_string()),
        ("vocabulary", inspection.vocab_size.to_string()),
        ("positions", inspection.max_position_embeddings.to_string()),
        ("tied embeddings", yes_no(inspection.tie_word_embeddings)),
        ("chat template", yes_no(inspection.has_chat_template)),
        ("stop tokens", stop_tokens),
        (
            "operations a token",
            format!(
                "{:.3} G forward, {:.3} G in training, at {} tokens",
                inspection.forward_flops / 1e9,
                inspection.training_flops / 1e9,
                inspection.context
            ),
        ),
        (
            "weights",
            format!(
                "{:.0} MiB in f32, {:.0} MiB in bf16",
                inspection.memory_mib.weights_f32, inspection.memory_mib.weights_bf16
            ),
        ),
        (
            "training",
            with_recompute(
                inspection.memory_mib.training,
                inspection.memory_mib.training_recompute,
                inspection.context,
            ),
        ),
        (
            "training LoRA",
            with_recompute(
                inspection.memory_mib.training_lora,
                inspection.memory_mib.training_lora_recompute,
                inspection.context,
            ),
        ),
    ];
    let adapter = adapter.map(|adapter| ("adapter", adapter));
    output::table(&adapter.into_iter().chain(rows).collect::<Vec<_>>())
}

fn with_recompute(kept: f64, recomputed: f64, context: usize) -> String {
    format!(
        "about {kept:.0} MiB a sequence of {} tokens, {recomputed:.0} MiB with activations recomputed",
        count(context)
    )
}

fn memory(config: &ModelConfig, parameters: usize, context: usize) -> Memory {
    let mib = |bytes: usize| (parameters * bytes) as f64 / f64::from(1 << 20);
    let adapter = AdapterSection::default().config();
    let targets = adapter.targets(config).ok();
    let lora = targets.as_ref().map(|targets| (&adapter, targets));
    let training = |adapter, recompute| {
        let settings = MemorySettings {
            adapter,
            base: BaseFormat::F32,
            recompute,
            precision: Precision::F32,
            tokens: context,
            scored: 0,
            accumulates: true,
            keeps_reference: false,
            other: None,
            cached: 0,
            sequences: 0,
            kind: OptimizerKind::AdamW,
            moments: MomentFormat::F32,
            is_host: true,
            share: Share::default(),
        };
        training_mib(config, &settings)
    };
    Memory {
        weights_f32: mib(4),
        weights_bf16: mib(2),
        training: training(None, Recompute::None),
        training_recompute: training(None, Recompute::Blocks),
        training_lora: training(lora, Recompute::None),
        training_lora_recompute: training(lora, Recompute::Blocks),
    }
}

fn dtype(name: DtypeName) -> Dtype {
    match name {
        DtypeName::F32 => Dtype::F32,
        DtypeName::Bf16 => Dtype::Bf16,
        DtypeName::F16 => Dtype::F16,
    }
}
