//! The arguments of `cadft train`.

use super::DeviceArgs;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// A recipe file, or the name of an embedded recipe (`cadft recipe list`).
    #[arg(long, value_name = "FILE|NAME", default_value = "quickstart")]
    pub(crate) recipe: String,
    /// Change a value of the recipe, as in `--set optimizer.lr=1e-5`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Directory of the run; wins over `run.out`. Without either: a new one under `runs`.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Read and check everything, say what would be done, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print every event of the run as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
