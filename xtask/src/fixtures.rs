//! `cargo xtask fixtures`: golden files for the parity tests, made by `python/fixtures.py`.

use std::process::Command;

use anyhow::Result;

use crate::{python, shell};

/// Arguments of `cargo xtask fixtures`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compute everything again and compare, instead of writing.
    #[arg(long)]
    check: bool,
    /// Arguments for `python/fixtures.py`, after `--`.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs the generator in an environment pinned by `python/requirements.txt`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = shell::workspace_root();
    let interpreter = python::environment("fixtures", &root.join("python/requirements.txt"))?;
    let mut command = Command::new(interpreter);
    command.arg(root.join("python/fixtures.py")).current_dir(&root);
    if args.check {
        command.arg("--check");
    }
    shell::run(command.args(&args.args))
}
