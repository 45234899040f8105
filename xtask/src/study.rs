//! `cargo xtask study-base`: the data of the study, and the base model that it begins with, from random weights.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{python, shell};

/// Writes the data into `data/study`, and trains the base into `runs/study-base`.
pub(crate) fn run() -> Result<()> {
    let root = shell::workspace_root();
    let python = python::environment("quickstart", &root.join("python/requirements-quickstart.txt"))?;
    shell::run(
        Command::new(python)
            .arg(root.join("python/study_data.py"))
            .arg("--out")
            .arg(root.join("data/study")),
    )?;
    let out = root.join("runs/study-base");
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
            .arg(root.join("bench/study-base.toml"))
            .arg("--out")
            .arg(&out)
            .current_dir(&root),
    )?;
    eprintln!("the base is in {}", out.join("model").display());
    Ok(())
}
