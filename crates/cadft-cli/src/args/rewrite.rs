//! The arguments of `cadft rewrite`.

use super::{InputArgs, ScoringArgs, positive};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum RewriteCommand {
    /// What the rounds decided, one line a sample.
    List(RewriteListArgs),
    /// Everything that is on record about one sample.
    Show(RewriteShowArgs),
    /// Old and new text of rewritten samples, word by word.
    Diff(RewriteDiffArgs),
    /// Give samples their original text back.
    Undo(RewriteUndoArgs),
    /// Write the data set with its rewrites, to be used elsewhere.
    Export(RewriteExportArgs),
    /// Rebuild the data set of each round from the record and compare.
    Replay(RewriteReplayArgs),
    /// One round on a data set, without training.
    Run(Box<RewriteRunArgs>),
}

/// A record of rewrites.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The directory of a run, or its `rewrites.jsonl`.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RewriteListArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// Only samples that were replaced.
    #[arg(long)]
    pub(crate) replaced: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RewriteShowArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// The sample.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Print the records as they are.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RewriteDiffArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// The samples; without any, all that were replaced.
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Print one JSON object a sample.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RewriteUndoArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// The samples.
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// All samples that were replaced.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The data and the tokenizer, if they are not where the record says.
#[derive(Debug, Args)]
pub(crate) struct OriginArgs {
    /// The model's directory, for its tokenizer [default: as on record].
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    /// The data files, in order [default: as on record].
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) data: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RewriteExportArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// The file to write, JSON Lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Write the rewritten rows alone, as preference pairs of the new text (`chosen`) and the old one (`rejected`).
    #[arg(long)]
    pub(crate) pairs: bool,
    #[command(flatten)]
    pub(crate) source: OriginArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RewriteReplayArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) source: OriginArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RewriteRunArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// A new directory for `rewrites.jsonl` and `data.jsonl`.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Share of the samples that the round looks at, the most incompatible first.
    #[arg(long, value_name = "F", default_value_t = 0.005)]
    pub(crate) fraction: f64,
    /// Probability with which each of them is drawn.
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    pub(crate) probability: f64,
    /// Above 1 flattens the distribution that is drawn from, below 1 sharpens it.
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    pub(crate) temperature: f64,
    /// Draw from the most probable tokens that have this much probability together.
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub(crate) top_p: f64,
    /// Longest rewrite, in tokens.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive)]
    pub(crate) max_new_tokens: usize,
    /// Also accept rewrites that the model finds no more likely than the original.
    #[arg(long)]
    pub(crate) allow_higher_score: bool,
    /// Only accept rewrites with the final answer of the row, or of the original.
    #[arg(long)]
    pub(crate) same_answer: bool,
    /// Seed of all decisions.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) scoring: ScoringArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
