//! The arguments of `cadft generate` and `cadft chat`.

use super::{DeviceArgs, SourceArgs, positive};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// A Hugging Face model directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// One prompt; a user's turn where the model has a chat template.
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "data",
        conflicts_with = "data"
    )]
    pub(crate) prompt: Option<String>,
    /// A file, directory or glob, whose prompts are answered.
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Go on from the prompt as it is, without the chat template.
    #[arg(long, conflicts_with = "data")]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Prompts that are answered at the same time; does not change the answers.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive)]
    pub(crate) batch: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object a prompt.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// A Hugging Face model directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// A system message to begin with.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// Always take the most probable token, instead of drawing one.
    #[arg(long, conflicts_with_all = ["temperature", "top_p", "seed"])]
    pub(crate) greedy: bool,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub(crate) max_new_tokens: usize,
    /// Above 1 flattens the distribution, below 1 sharpens it.
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    pub(crate) temperature: f64,
    /// Draw from the most probable tokens that have this much probability together.
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub(crate) top_p: f64,
    /// Seed of the draws.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
}
