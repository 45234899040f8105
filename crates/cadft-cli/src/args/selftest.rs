//! The arguments of `cadft selftest`.

use super::DeviceArgs;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object a check.
    #[arg(long)]
    pub(crate) json: bool,
}
