//! `cargo xtask study-base`: the data of the study, and the base model that it begins with, from random weights.

use anyhow::Result;

use crate::quickstart;

/// Writes the data into `data/study`, and trains the base into `runs/study-base`.
pub(crate) fn run() -> Result<()> {
    let out = quickstart::trained(
        &["python/study_data.py", "--out", "data/study"],
        "bench/study-base.toml",
        "runs/study-base",
    )?;
    eprintln!("the base is in {}", out.join("model").display());
    Ok(())
}
