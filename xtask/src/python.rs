//! Runs Python, for tasks that need it: packages from its registry, and golden numbers from PyTorch.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{files, shell};

/// The interpreter, which must be in `PATH`.
pub(crate) const INTERPRETER: &str = "python3";

/// Fails with a hint unless `python3 -m MODULE` exists.
pub(crate) fn require(module: &str) -> Result<()> {
    if !shell::succeeds(INTERPRETER, &["--version"]) {
        bail!("`{INTERPRETER}` was not found\nhint: install Python 3 (Debian: `apt-get install python3`)");
    }
    if !shell::succeeds(INTERPRETER, &["-c", &format!("import {module}")]) {
        bail!(
            "`{INTERPRETER}` has no module `{module}`\n\
             hint: Debian has it as a package: `apt-get install python3-pip python3-venv`"
        );
    }
    Ok(())
}

/// A virtual environment in the cache with exactly the packages in `requirements`. It is made or updated if necessary.
pub(crate) fn environment(name: &str, requirements: &Path) -> Result<PathBuf> {
    require("venv")?;
    require("ensurepip")?;
    let wanted = files::sha256(requirements)?;
    let dir = shell::cache_dir()?.join("python").join(name);
    let python = dir.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    let stamp = dir.join("requirements.sha256");
    let is_current = std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted);
    if is_current && shell::succeeds(&python, &["--version"]) {
        return Ok(python);
    }
    shell::run(
        Command::new(INTERPRETER)
            .args(["-m", "venv", "--clear"])
            .arg(&dir),
    )?;
    shell::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "-r"])
            .arg(requirements),
    )?;
    std::fs::write(&stamp, &wanted).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    Ok(python)
}
