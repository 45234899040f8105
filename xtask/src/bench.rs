//! `cargo xtask bench`: measurements, never part of a test run.

mod data;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{python, shell};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// Arguments of the measuring script, after `--`.
    #[arg(last = true)]
    args: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Peak memory of the fused likelihood over inputs, gradients and one chunk; of steps with activations kept and
    /// recomputed; of loading a checkpoint over its size.
    Memory,
    /// Tokens a second of generation beside `transformers.generate`; needs `cargo xtask fetch smollm2`.
    Generate,
    /// Tokenising and reading training data, beside `datasets` and `transformers`.
    Data,
    /// Whether rewriting does what it is for: the quickstart's model with and without it, for three seeds.
    Rewriting,
    /// What writing checkpoints costs a run.
    Checkpoints,
}

/// Builds the measurement with the features of the whole workspace and runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.what {
        What::Data => data::run(),
        What::Memory => {
            shell::run(&mut Command::new(built("likelihood-memory")?))?;
            shell::run(&mut Command::new(built("training-memory")?))
        }
        What::Generate => generate(&args.args),
        What::Checkpoints => shell::run(&mut Command::new(built("checkpoint-stall")?)),
        What::Rewriting => shell::run(&mut Command::new(built("rewriting-study")?)),
    }
}

/// Builds a measuring program; returns its path.
fn built(binary: &str) -> Result<PathBuf> {
    shell::run(shell::cargo_in_workspace("build").args(["--release", "--workspace", "--bin", binary]))?;
    Ok(shell::target_dir().join("release").join(binary))
}

/// Runs both sides in turns and writes `bench/generate.json`.
fn generate(args: &[String]) -> Result<()> {
    let root = shell::workspace_root();
    let model = root.join("models/smollm2-135m-instruct");
    if !model.is_dir() {
        bail!(
            "no `{}`\nhint: `cargo xtask fetch smollm2` makes it",
            model.display()
        );
    }
    let binary = built("generate-speed")?;
    let interpreter = python::environment("fixtures", &root.join("python/requirements.txt"))?;
    shell::run(
        Command::new(interpreter)
            .arg(root.join("python/bench_generate.py"))
            .arg("--model")
            .arg(model)
            .arg("--binary")
            .arg(binary)
            .arg("--out")
            .arg(root.join("bench/generate.json"))
            .args(args),
    )
}
