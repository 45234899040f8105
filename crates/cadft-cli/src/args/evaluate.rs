//! The arguments of `cadft evaluate`.

use super::{InputArgs, ScoringArgs, not_negative, positive};
use cadft_model::Sampling;
use cadft_train::evaluate::Extractor;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) scoring: ScoringArgs,
    #[command(flatten)]
    pub(crate) answers: AnswerArgs,
    /// Print one JSON object.
    #[arg(long, help_heading = None::<&str>)]
    pub(crate) json: bool,
}

/// Answers by generation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answers by generation")]
pub(crate) struct AnswerArgs {
    /// Also answer the rows that have an `answer`, and compare.
    #[arg(long)]
    pub(crate) generate: bool,
    /// The same as `--generate`, or `--generate --limit N`.
    #[arg(long, value_name = "N", num_args = 0..=1, conflicts_with_all = ["generate", "limit"])]
    pub(crate) answers: Option<Option<usize>>,
    /// Only the first N of these rows.
    #[arg(long, value_name = "N", requires = "generate", value_parser = positive)]
    pub(crate) limit: Option<usize>,
    /// How the final answer of a text is found: number, boxed, choice, exact or regex=PATTERN.
    #[arg(long, value_name = "E", default_value_t = Extractor::Number)]
    pub(crate) extractor: Extractor,
    /// Answers to each question; more than one needs a temperature.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = positive)]
    pub(crate) samples: usize,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub(crate) max_new_tokens: usize,
    /// 0 always takes the most probable token.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = not_negative)]
    pub(crate) temperature: f64,
    /// Draw from the most probable tokens that have this much probability together.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Seed of the draws.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Answers that are generated at the same time; does not change the answers.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub(crate) batch: usize,
    /// Write every question with its answers to this file, one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) out: Option<PathBuf>,
}

impl AnswerArgs {
    /// Largest number of questions to answer; `None` if no answers are requested.
    pub(crate) fn questions(&self) -> Option<usize> {
        match self.answers {
            Some(limit) => Some(limit.unwrap_or(usize::MAX)),
            None => self.generate.then_some(self.limit.unwrap_or(usize::MAX)),
        }
    }

    /// How tokens are chosen.
    pub(crate) fn sampling(&self) -> Sampling {
        Sampling::nucleus(self.temperature, self.top_p, self.seed)
    }
}
