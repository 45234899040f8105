//! `cadft report`.

use crate::args::ReportArgs;
use crate::console::next;
use crate::facts::WrittenPage;
use crate::{destination, output, report};
use anyhow::{Context, Result};
use cadft_files::shown;
use std::path::PathBuf;

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let out = match (&args.out, args.runs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("report.html"),
        (None, _) => PathBuf::from("report.html"),
    };
    // The page may be written into the directory of its run, but must not replace a file that the page is made from.
    let is_page = out.extension().is_some_and(|end| end == "html" || end == "htm");
    let read = args.runs.iter().filter(|_| !is_page);
    destination::file(&out, read)?;
    let page = report::render(&args.runs)?;
    cadft_files::write(&out, page).with_context(|| format!("cannot write `{}`", shown(&out)))?;
    if args.json {
        let out = out.to_string_lossy().into_owned();
        return output::json_line(&WrittenPage { out });
    }
    output::line(shown(&out).to_string())?;
    next::page(&out);
    Ok(())
}
