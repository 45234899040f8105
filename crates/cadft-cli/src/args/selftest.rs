//! The arguments of `cadft selftest`.

use super::DeviceArgs;
use clap::{ArgAction, Args};

#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Whether products of f32 may be computed in TF32, if the device has it.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true)]
    pub(crate) tf32: bool,
    /// Print one JSON object a check.
    #[arg(long)]
    pub(crate) json: bool,
}
