//! The arguments of `cadft schema`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// The words of the command, as in `score` or `data stats`; `train --dry-run` for a plan. Without them, the schemas of all
    /// commands, in one object by name.
    #[arg(value_name = "COMMAND", allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}
