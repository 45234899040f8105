//! `cargo xtask quickstart-base`: rebuilds the embedded base model from random weights.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{python, shell};

const ASSETS: &str = "crates/cadft-cli/assets";

/// Writes the corpus of the base model, trains on it with the `cadft` command, and stores the weights with the other
/// assets.
pub(crate) fn run() -> Result<()> {
    let root = shell::workspace_root();
    let python = python::environment("quickstart", &root.join("python/requirements-quickstart.txt"))?;
    shell::run(
        Command::new(python)
            .arg(root.join("python/quickstart_data.py"))
            .arg("--pretrain")
            .arg(root.join("data/quickstart")),
    )?;
    let out = root.join("runs/quickstart-base");
    if out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| format!("cannot remove `{}`", out.display()))?;
    }
    shell::run(
        shell::cargo_in_workspace("run")
            .args([
                "--release",
                "--package",
                "cadft",
                "--bin",
                "cadft",
                "--",
                "train",
                "--recipe",
            ])
            .arg(root.join(ASSETS).join("quickstart-base.toml"))
            .arg("--out")
            .arg(&out)
            .current_dir(&root),
    )?;
    let weights = root.join(ASSETS).join("quickstart/model.safetensors");
    std::fs::copy(out.join("model/model.safetensors"), &weights)
        .with_context(|| format!("cannot write `{}`", weights.display()))?;
    eprintln!("wrote {}", weights.display());
    Ok(())
}
