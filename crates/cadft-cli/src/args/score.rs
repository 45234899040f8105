//! The arguments of `cadft score`.

use super::{InputArgs, ScoringArgs, not_negative};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Write the lines to this file instead of standard output: JSON Lines, or Parquet if its name ends in `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Copy the rows, which must be JSON Lines, into two files by their z: rows below Z are kept. z is high if the
    /// model finds a text strange: off-topic, garbled, in another style. A wrong answer that reads well is not found.
    #[arg(long, value_name = "Z", requires = "kept", allow_negative_numbers = true)]
    pub(crate) keep_below: Option<f64>,
    /// The file for the kept rows, which are copied unchanged.
    #[arg(long, value_name = "FILE", requires = "keep_below")]
    pub(crate) kept: Option<PathBuf>,
    /// The file for the other rows.
    #[arg(long, value_name = "FILE", requires = "keep_below")]
    pub(crate) dropped: Option<PathBuf>,
    /// Add the moving averages that a run left for the same samples.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<PathBuf>,
    /// Strength of the weights.
    #[arg(long, value_name = "B", default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) beta: f64,
    /// Show the N least and the N most compatible samples with their text.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) show: usize,
    #[command(flatten)]
    pub(crate) scoring: ScoringArgs,
    /// Has no effect: the output is JSON Lines.
    #[arg(long, hide = true)]
    pub(crate) json: bool,
}
