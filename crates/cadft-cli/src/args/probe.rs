//! The arguments of `cadft probe`.

use super::{InputArgs, ScoringArgs, not_negative, positive};
use cadft_core::Normalisation;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The objectives, as in `nll,dft,cadft`; that of `--recipe` keeps its settings, the others have their defaults.
    #[arg(
        long,
        value_name = "A,B,…",
        value_delimiter = ',',
        default_value = "nll,dft,cadft"
    )]
    pub(crate) objectives: Vec<String>,
    /// Clean demonstrations: the direction of their gradient is compared with that of `--data`.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) clean: Vec<String>,
    /// What the loss is divided by [default: token-mean, or `loss.normalisation` of `--recipe`].
    #[arg(long, value_enum)]
    pub(crate) normalisation: Option<NormalisationName>,
    /// Reduce each gradient to N random sums, instead of using all of its coordinates, which takes 8 bytes a parameter.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) sketch: Option<usize>,
    /// Seed of the sketch.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Strength of the weights by which samples are put into bins.
    #[arg(long, value_name = "B", default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) beta: f64,
    /// Write the JSON to this file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) scoring: ScoringArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `loss.normalisation` of a recipe.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NormalisationName {
    /// By the tokens of all samples.
    TokenMean,
    /// By the tokens of each sample, and by the samples.
    SampleMean,
    /// By the samples.
    SampleSum,
}

impl From<NormalisationName> for Normalisation {
    fn from(name: NormalisationName) -> Self {
        match name {
            NormalisationName::TokenMean => Self::TokenMean,
            NormalisationName::SampleMean => Self::SampleMean,
            NormalisationName::SampleSum => Self::SampleSum,
        }
    }
}
