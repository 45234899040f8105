//! The arguments of `cadft data`.

use super::{FormatName, InputArgs, MaskName, SourceArgs, TemplateArgs, positive};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Show which tokens are trained.
    Inspect(InspectArgs),
    /// Count rows, tokens, duplicates, and what is cut, dropped and trained.
    Stats(StatsArgs),
    /// Report everything that is wrong with data, each with its file and line.
    Validate(ValidateArgs),
    /// Write data in another format and kind of file, or say what would be lost.
    Convert(DataConvertArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Which tokens are trained.
    #[arg(long, value_enum, default_value = "assistant")]
    pub(crate) mask: MaskName,
    /// Longest sample in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = positive)]
    pub(crate) max_length: usize,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Files, directories and globs.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Also check that the chat template of this model directory can render every row and mask it.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    /// Which tokens are trained.
    #[arg(long, value_enum, default_value = "assistant", requires = "model")]
    pub(crate) mask: MaskName,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Print the first N problems; the others are counted.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
    /// Print one JSON object a problem.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DataConvertArgs {
    /// Files, directories and globs, read in this order.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The format to write.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) to: FormatName,
    /// Where to; .jsonl, .json, .csv and .tsv, each also with .gz or .zst, or .parquet.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Show the first N samples only.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Which tokens are trained.
    #[arg(long, value_enum, default_value = "assistant")]
    pub(crate) mask: MaskName,
    /// Longest sample in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = positive)]
    pub(crate) max_length: usize,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Print one JSON object a sample.
    #[arg(long)]
    pub(crate) json: bool,
}
