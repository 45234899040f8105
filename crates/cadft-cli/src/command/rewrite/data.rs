//! `cadft rewrite export` and `cadft rewrite replay`: the data set that a record stands for.

use super::Log;
use crate::args::{OriginArgs, RewriteExportArgs, RewriteReplayArgs};
use crate::console::{count, note};
use crate::hint::UsageError;
use crate::output;
use crate::{assets, model};
use anyhow::{Context, Result};
use cadft_data::{Source, Tokenizer};
use cadft_train::data::{SampleReader, on_disk};
use cadft_train::rewrite::{ExportSummary, Header, Record, export as export_records};
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What `replay --json` prints.
#[derive(Serialize)]
struct Replayed<'a> {
    rows: usize,
    rewritten: usize,
    same_tokens: usize,
    rounds: usize,
    sha256: &'a str,
}

pub(super) fn export(args: &RewriteExportArgs) -> Result<()> {
    let log = Log::open(&args.record)?;
    let header = header(&log, &args.source)?;
    let out = fs::canonicalize(&args.out).ok();
    let sources = on_disk(&header.data.train)?;
    let sources = (sources.iter())
        .filter_map(|source| source.files().ok())
        .flatten();
    let is_out = |file: &PathBuf| out.is_some() && fs::canonicalize(file).ok() == out;
    if let Some(file) = sources.into_iter().find(is_out) {
        return Err(UsageError::new(
            format!(
                "`--out`: `{}` is the source, which is never written to",
                file.display()
            ),
            "choose another file",
        )
        .into());
    }
    let summary = rebuilt(&log, &header)?;
    write(&args.out, &summary.lines)?;
    note(&format!(
        "{}: {} rows, {} of them rewritten",
        args.out.display(),
        count(summary.rows),
        count(summary.rewritten)
    ));
    Ok(())
}

pub(super) fn replay(args: &RewriteReplayArgs) -> Result<()> {
    let log = Log::open(&args.record)?;
    let header = header(&log, &args.source)?;
    let summary = rebuilt(&log, &header)?;
    if args.json {
        return output::json_line(&Replayed {
            rows: summary.rows,
            rewritten: summary.rewritten,
            same_tokens: summary.same_tokens,
            rounds: summary.rounds,
            sha256: &summary.sha256,
        });
    }
    output::table(&[
        ("rows", count(summary.rows)),
        ("rewritten", count(summary.rewritten)),
        ("of the same tokens as text", count(summary.same_tokens)),
        ("rounds that agree", count(summary.rounds)),
        ("sha256", summary.sha256),
    ])
}

/// The data set of a log.
fn rebuilt(log: &Log, header: &Header) -> Result<ExportSummary> {
    let tokenizer = Tokenizer::from_dir(&model::directory(&header.model)?)?;
    let reader = SampleReader::new(&header.recipe(), tokenizer)?;
    Ok(export_records(&log.records, header, &reader)?)
}

/// Where the data are: as on record, unless the command line says otherwise.
fn header(log: &Log, source: &OriginArgs) -> Result<Header> {
    let Some(Record::Header(header)) = log.records.first() else {
        return Err(UsageError::new(
            format!("{}: the log is empty", log.path.display()),
            "no round took place",
        )
        .into());
    };
    let mut header = header.clone();
    if let Some(model) = &source.model {
        header.model.clone_from(model);
    }
    if !source.data.is_empty() {
        header.data.train = moved(&source.data, &header.data.train)?;
    }
    Ok(header)
}

/// The sources that were read, in other places: each keeps its format, columns and weight where there are as many.
fn moved(places: &[String], sources: &[Source]) -> Result<Vec<Source>> {
    let as_read = |number: usize| {
        let source = sources.get(number).filter(|_| places.len() == sources.len());
        source.cloned().unwrap_or_default()
    };
    (places.iter().enumerate())
        .map(|(number, place)| {
            Ok(Source {
                path: assets::resolve(place)?,
                ..as_read(number)
            })
        })
        .collect()
}

/// Writes under a temporary name, then renames.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let context = || format!("cannot write `{}`", path.display());
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(path).with_context(context)?;
    Ok(())
}
