//! The arguments of `cadft data`.

use super::{InputArgs, positive};
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Show which tokens are trained.
    Inspect(InspectArgs),
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
    /// Print one JSON object a sample.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `data.mask` of a recipe.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MaskName {
    /// Every assistant turn.
    Assistant,
    /// The last assistant turn.
    LastTurn,
    /// What follows the prompt.
    Completion,
    /// Every token.
    All,
}
