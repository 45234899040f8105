//! The arguments of `cadft train`.

use super::{DeviceArgs, OptionalRecipe, ShorthandArgs};
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
    /// Compute each step on N threads of this process, each with its own copy of the model. The result depends on
    /// `batch.shards` (default: one shard for each rank), not on this number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) ranks: Option<u16>,
    /// Read and check everything, say what would be done, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) shorthand: ShorthandArgs,
    /// Print every event of the run as one line of JSON.
    #[arg(long, help_heading = None::<&str>)]
    pub(crate) json: bool,
}

impl TrainArgs {
    /// The changes to the recipe, as `KEY=VALUE`: those of the short options, then those of `--set`. A chosen recipe
    /// was made from the short options and has them already.
    pub(crate) fn overrides(&self, is_chosen: bool) -> Vec<String> {
        let mut overrides = if is_chosen {
            vec![]
        } else {
            self.shorthand.overrides()
        };
        overrides.extend(self.set.iter().cloned());
        overrides
    }
}
