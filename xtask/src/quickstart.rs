//! `cargo xtask quickstart-base`: rebuilds the embedded base model from random weights.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{python, shell};

const ASSETS: &str = "crates/cadft-cli/assets";

/// Writes the corpus of the base model, trains on it with the `cadft` command, and stores the weights with the other
/// assets.
pub(crate) fn run() -> Result<()> {
    let root = shell::workspace_root();
    let out = trained(
        &["python/quickstart_data.py", "--pretrain", "data/quickstart"],
        &format!("{ASSETS}/quickstart-base.toml"),
        "runs/quickstart-base",
    )?;
    let weights = root.join(ASSETS).join("quickstart/model.safetensors");
    std::fs::copy(out.join("model/model.safetensors"), &weights)
        .with_context(|| format!("cannot write `{}`", weights.display()))?;
    eprintln!("wrote {}", weights.display());
    Ok(())
}

/// Runs a script that writes data, with an option and a directory, then trains a recipe from random weights into `out`, all below
/// the root of the repository. Returns the directory of the run.
pub(crate) fn trained(script: &[&str; 3], recipe: &str, out: &str) -> Result<PathBuf> {
    let root = shell::workspace_root();
    let python = python::environment("quickstart", &root.join("python/requirements-quickstart.txt"))?;
    write_data(&python, script)?;
    train(recipe, out)
}

/// Runs a script that writes data, with an option and a directory, both below the root of the repository.
pub(crate) fn write_data(python: &Path, [script, option, data]: &[&str; 3]) -> Result<()> {
    let root = shell::workspace_root();
    let mut command = Command::new(python);
    shell::run(command.arg(root.join(script)).arg(option).arg(root.join(data)))
}

/// Trains a recipe into `out`, which is removed if it exists; both are below the root of the repository. Returns the directory of
/// the run.
pub(crate) fn train(recipe: &str, out: &str) -> Result<PathBuf> {
    let root = shell::workspace_root();
    let out = root.join(out);
    if out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| format!("cannot remove `{}`", out.display()))?;
    }
    let mut command = Command::new(shell::built_command()?);
    command.arg("train").arg(root.join(recipe)).arg("--out").arg(&out);
    shell::run(command.current_dir(&root))?;
    Ok(out)
}
