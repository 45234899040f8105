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
    /// Compute each step on N threads of this process, each with a model of its own. The result depends on
    /// `batch.shards` (without it: one for each rank) and not on this number.
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
    #[arg(long)]
    pub(crate) json: bool,
}

impl TrainArgs {
    /// What is changed of the recipe, as `KEY=VALUE`: by its short names, then by `--set`. A recipe that was chosen from the
    /// short names has them already.
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
