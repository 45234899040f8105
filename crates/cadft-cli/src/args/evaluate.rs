//! The arguments of `cadft evaluate`.

use super::{DeviceArgs, InputArgs, positive};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Also answer the first N rows that have an `answer`, greedily; without N, all of them.
    #[arg(long, value_name = "N", num_args = 0..=1)]
    pub(crate) answers: Option<Option<usize>>,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub(crate) max_new_tokens: usize,
    /// Samples of one forward pass.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub(crate) micro: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
