//! `cadft report`.

use crate::args::ReportArgs;
use crate::{output, report};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let page = report::render(&args.runs)?;
    let out = match (&args.out, args.runs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("report.html"),
        (None, _) => PathBuf::from("report.html"),
    };
    write(&out, &page).with_context(|| format!("cannot write `{}`", out.display()))?;
    output::line(&out.display().to_string())
}

/// Writes beside the file, then renames: a browser that reloads sees the old page or the new one.
fn write(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)?;
    Ok(fs::rename(&temporary, path)?)
}
