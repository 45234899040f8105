//! `cargo xtask bench`: measurements, never part of a test run.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Peak memory of the fused likelihood over inputs, gradients and one chunk.
    Memory,
}

/// Builds the measurement with the features of the whole workspace and runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binary = match args.what {
        What::Memory => "likelihood-memory",
    };
    shell::run(shell::cargo_in_workspace("build").args(["--release", "--workspace", "--bin", binary]))?;
    shell::run(&mut Command::new(
        shell::target_dir().join("release").join(binary),
    ))
}
