//! The arguments of `cadft compare`.

use super::{DeviceArgs, RequiredRecipe, positive};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) recipe: RequiredRecipe,
    /// The objectives, as in `nll,dft,cadft`; the recipe's own keeps its settings, the others have their defaults.
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub(crate) objectives: Vec<String>,
    /// One more objective, under a name of its own and with settings, as in `--objective 'strong: cadft.beta=2'`; may be repeated.
    #[arg(long, value_name = "NAME: KEY=VALUE; …")]
    pub(crate) objective: Vec<String>,
    /// Settings that every objective is trained under, as in `--settings 'b8: batch.global=8'`; repeated for each that is compared.
    #[arg(long, value_name = "NAME: KEY=VALUE; …")]
    pub(crate) settings: Vec<String>,
    /// Training data in place of the recipe's, as in `--data 'noisy: noisy.jsonl'`; repeated for each that is compared.
    #[arg(long, value_name = "NAME: FILE; …")]
    pub(crate) data: Vec<String>,
    /// Runs of each of them, with seeds from the recipe's `run.seed` up.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub(crate) seeds: usize,
    /// Change a value of the recipe for all runs, as in `--set optimizer.lr=1e-5`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Directory of the runs and the table [default: `runs/compare-NAME`]. Runs that are finished there are not
    /// repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print the table as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
