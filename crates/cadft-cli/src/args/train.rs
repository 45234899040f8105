//! The arguments of `cadft train`.

use super::{DeviceArgs, OptionalRecipe};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) recipe: OptionalRecipe,
    /// Change a value of the recipe, as in `--set optimizer.lr=1e-5`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Directory of the run; wins over `run.out`. Without either: a new one under `runs`.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Continue from a checkpoint: `auto` takes the newest undamaged one of the run directory, or starts if there is none;
    /// PATH is a checkpoint or a run directory.
    #[arg(long, value_name = "auto|PATH", num_args = 0..=1, default_missing_value = "auto")]
    pub(crate) resume: Option<String>,
    /// Continue although settings that the result depends on have changed.
    #[arg(long, requires = "resume")]
    pub(crate) allow_change: bool,
    /// Read and check everything, say what would be done, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print every event of the run as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
