//! The arguments of `cadft data`.

use super::{FormatName, InputArgs, MaskName, SourceArgs, TemplateArgs, positive};
use cadft_data::Noise;
use clap::{Args, Subcommand, ValueEnum};
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
    /// Make the answers of a share of the rows wrong, each marked: planted noise, to see what an objective does with it.
    Corrupt(CorruptArgs),
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
    /// The file to write: .jsonl, .json, .csv and .tsv, each also with .gz or .zst, or .parquet.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CorruptArgs {
    /// Files, directories and globs, read in this order.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The share of the rows, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    pub(crate) share: f64,
    /// The kinds of noise, equally many of each.
    #[arg(
        long,
        value_enum,
        value_name = "A,B",
        value_delimiter = ',',
        default_value = "swap,numbers,words,cut"
    )]
    pub(crate) kinds: Vec<NoiseName>,
    /// Seed of all random choices.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The file to write: JSON Lines, in which the key `planted` of every row names its kind of noise, or is `none`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A kind of noise.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NoiseName {
    /// The answer of another row.
    Swap,
    /// Other digits in place of every digit.
    Numbers,
    /// Words of other answers in place of half of the words.
    Words,
    /// The first half of the answer.
    Cut,
}

impl From<NoiseName> for Noise {
    fn from(name: NoiseName) -> Self {
        match name {
            NoiseName::Swap => Self::Swap,
            NoiseName::Numbers => Self::Numbers,
            NoiseName::Words => Self::Words,
            NoiseName::Cut => Self::Cut,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) => Err("must be at least 0 and at most 1".to_owned()),
        Err(error) => Err(error.to_string()),
    }
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
