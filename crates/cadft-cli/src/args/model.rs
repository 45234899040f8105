//! The arguments of `cadft model`.

use super::{DeviceArgs, positive};
use cadft_model::BaseFormat;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Show what a model directory holds.
    Inspect(ModelInspectArgs),
    /// Convert a GGUF file to a Hugging Face directory, or such a directory to GGUF or another number format.
    Convert(ConvertArgs),
    /// Compare two checkpoints tensor by tensor.
    Diff(DiffArgs),
    /// Add an adapter into the weights of its model, and compare logits before and after.
    Merge(MergeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModelInspectArgs {
    /// A Hugging Face model directory, an adapter or a run.
    #[arg(value_name = "DIR")]
    pub(crate) directory: String,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// A GGUF file to convert.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "model",
        conflicts_with = "model"
    )]
    pub(crate) gguf: Option<PathBuf>,
    /// A Hugging Face model directory to convert, or a run.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    /// The layout to write.
    #[arg(long, value_enum, default_value = "safetensors")]
    pub(crate) to: Layout,
    /// The directory to write, or the GGUF file.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// How the weights are stored [default: f32, in GGUF f16].
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<StoredName>,
    /// With `--to gguf`: files, directories and globs whose perplexity is compared before and after.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "model")]
    pub(crate) data: Vec<String>,
    /// Make tokens of `--data` as this recipe or run does.
    #[arg(long, value_name = "FILE|NAME", requires = "data")]
    pub(crate) recipe: Option<String>,
    /// With `--to gguf`: also write a Modelfile for Ollama, with the chat template and what ends an answer.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) modelfile: Option<PathBuf>,
    /// Largest safetensors file, in MB.
    #[arg(long, value_name = "MB", default_value_t = 5000, value_parser = positive)]
    pub(crate) max_shard_size: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The layout of a converted model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// A Hugging Face directory.
    Safetensors,
    /// A file for llama.cpp and Ollama.
    Gguf,
}

/// A number format of stored weights, those of GGUF included.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StoredName {
    /// 32 bits; not in GGUF.
    F32,
    /// 16 bits with the range of f32; not in GGUF.
    Bf16,
    /// 16 bits, more precise and with a smaller range.
    F16,
    /// 8 bits in blocks of 32 with a scale; only in GGUF, as all that follow.
    #[value(name = "q8_0")]
    Q8_0,
    /// 6 bits.
    #[value(name = "q6_k")]
    Q6K,
    /// 5 bits, some matrices with 6.
    #[value(name = "q5_k_m")]
    Q5KM,
    /// 4 bits, some matrices with 6: the usual choice.
    #[value(name = "q4_k_m")]
    Q4KM,
    /// 4 bits in blocks of 32 with a scale.
    #[value(name = "q4_0")]
    Q4_0,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A Hugging Face model directory.
    #[arg(value_name = "A")]
    pub(crate) first: String,
    /// Another one.
    #[arg(value_name = "B")]
    pub(crate) second: String,
    /// Print one JSON object a tensor.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// A Hugging Face model directory; or an adapter, or a run that trained one, which names its model itself.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// A PEFT adapter of that model, or a run that trained one.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// The directory to write.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How the weights are stored.
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: DtypeName,
    /// The format that the base had in training (`adapter.base`): its linear weights are rounded to it, unpacked, and
    /// merged into. With `f32`, the update is added to the weights as the model has them.
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) base: BaseName,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A format of the base under an adapter.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BaseName {
    /// 32 bits.
    F32,
    /// 16 bits.
    Bf16,
    /// 8 bits.
    Int8,
    /// 4 bits.
    Nf4,
}

impl From<BaseName> for BaseFormat {
    fn from(name: BaseName) -> Self {
        match name {
            BaseName::F32 => Self::F32,
            BaseName::Bf16 => Self::Bf16,
            BaseName::Int8 => Self::Int8,
            BaseName::Nf4 => Self::Nf4,
        }
    }
}

/// A number format of stored weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DtypeName {
    /// 32 bits.
    F32,
    /// 16 bits with the range of f32.
    Bf16,
    /// 16 bits, more precise and with a smaller range.
    F16,
}
