//! The arguments of `cadft model`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Show what a model directory holds.
    Inspect(ModelInspectArgs),
    /// Convert a GGUF file to a Hugging Face directory.
    Convert(ConvertArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModelInspectArgs {
    /// A Hugging Face model directory.
    #[arg(value_name = "DIR")]
    pub(crate) directory: String,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The GGUF file.
    #[arg(long, value_name = "FILE")]
    pub(crate) gguf: PathBuf,
    /// The directory to write.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How the weights are stored.
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: DtypeName,
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
