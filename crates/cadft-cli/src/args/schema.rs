//! The arguments of `cadft schema`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// The words of the command, as in `score` or `data stats`. Without them, the schemas of all commands, in one object by
    /// name.
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// With `train`: of what it prints with `--dry-run`.
    #[arg(long, requires = "command")]
    pub(crate) dry_run: bool,
}
