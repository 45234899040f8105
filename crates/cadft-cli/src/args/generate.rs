//! The arguments of `cadft generate` and `cadft chat`.

use super::{DeviceArgs, SourceArgs, not_negative, positive};
use cadft_model::Sampling;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// A Hugging Face model directory, an adapter, or a run.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// A PEFT adapter of that model, or a run that trained one.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// One prompt; a user's turn if the model has a chat template.
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
    /// Continue the prompt as it is, without the chat template.
    #[arg(long, conflicts_with = "data")]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Answers to each prompt, drawn independently.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub(crate) samples: usize,
    /// Answers that are generated at the same time; does not change the answers.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub(crate) batch: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object a prompt.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// A Hugging Face model directory, an adapter, or a run.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// A PEFT adapter of that model, or a run that trained one.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
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
    /// Always take the most probable token, instead of drawing one; the same as `--temperature 0`.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p", "seed"])]
    pub(crate) greedy: bool,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub(crate) max_new_tokens: usize,
    /// Above 1 flattens the distribution, below 1 sharpens it, 0 always takes the most probable token.
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = not_negative)]
    pub(crate) temperature: f64,
    /// Draw from the K most probable tokens only.
    #[arg(long, value_name = "K", value_parser = positive)]
    pub(crate) top_k: Option<usize>,
    /// Draw from the most probable tokens that have this much probability together.
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub(crate) top_p: f64,
    /// Draw from tokens with at least this share of the largest probability.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) min_p: f64,
    /// Above 1 makes tokens less probable that already occur in the prompt or the answer.
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub(crate) repetition_penalty: f64,
    /// End an answer at this text, which is left out; may be repeated.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    /// Seed of the draws.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
}

impl SamplingArgs {
    /// These arguments as [`Sampling`].
    pub(crate) fn sampling(&self) -> Sampling {
        Sampling {
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
        }
    }
}
