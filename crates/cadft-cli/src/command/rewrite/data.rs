//! `cadft rewrite export` and `cadft rewrite replay`: rebuilds data sets from a record.

use super::Log;
use crate::args::{OriginArgs, RewriteExportArgs, RewriteReplayArgs};
use crate::console::{Activity, count, counted, next, note};
use crate::facts::WrittenRows;
use crate::hint::UsageError;
use crate::output;
use crate::{assets, destination, model};
use anyhow::{Context, Result};
use cadft_data::{Source, Tokenizer};
use cadft_files::shown;
use cadft_train::data::on_disk;
use cadft_train::rewrite::{ExportSummary, Header, Record, export as export_records};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// The output of `replay --json`.
#[derive(Serialize, JsonSchema)]
pub(in crate::command) struct Replayed<'a> {
    /// Rows of the data set.
    rows: usize,
    /// Those with another text than the data had.
    rewritten: usize,
    /// Those of them whose text becomes the tokens that were trained.
    same_tokens: usize,
    /// Rounds after which the data set is the one on record.
    rounds: usize,
    /// Of the data set, as the record has it.
    sha256: &'a str,
}

pub(super) fn export(args: &RewriteExportArgs) -> Result<()> {
    let log = Log::open(&args.record)?;
    let header = header(&log, &args.source)?;
    destination::file(&args.out, destination::files_of(&on_disk(&header.data.train)?))?;
    destination::file(&args.out, [log.path.as_path(), Path::new(&header.model)])?;
    let summary = rebuilt(&log, &header)?;
    let (lines, rows) = if args.pairs {
        (&summary.pairs, summary.pairs.lines().count())
    } else {
        (&summary.lines, summary.rows)
    };
    cadft_files::write(&args.out, lines).with_context(|| format!("cannot write `{}`", shown(&args.out)))?;
    if args.pairs {
        note(format!("{}: {} pairs", shown(&args.out), count(rows)));
        next::wrote_pairs();
        return written(args, rows, summary.rewritten);
    }
    note(format!(
        "{}: {}, {} of them rewritten",
        cadft_files::shown(&args.out),
        counted(summary.rows, "row"),
        count(summary.rewritten)
    ));
    next::wrote_data(&args.out);
    written(args, rows, summary.rewritten)
}

fn written(args: &RewriteExportArgs, rows: usize, rewritten: usize) -> Result<()> {
    if !args.json {
        return Ok(());
    }
    output::json_line(&WrittenRows {
        out: args.out.to_string_lossy().into_owned(),
        rows,
        rewritten: Some(rewritten),
    })
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
    ])?;
    next::rewrites_as_wanted(&args.record.run);
    Ok(())
}

/// The data set of a log.
fn rebuilt(log: &Log, header: &Header) -> Result<ExportSummary> {
    let _rebuilding = Activity::begin("rebuilding the data");
    let tokenizer = Tokenizer::from_dir(&model::directory(&header.model)?)?;
    let reader = header.reader(tokenizer)?;
    Ok(export_records(&log.records, header, &reader)?)
}

/// The header of the log, with the places of the data that the command line gives.
fn header(log: &Log, source: &OriginArgs) -> Result<Header> {
    let Some(Record::Header(header)) = log.records.first() else {
        return Err(UsageError::new(
            format!("{}: the log is empty", cadft_files::shown(&log.path)),
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

/// The sources of the log at other places. Each keeps its format, columns and weight if the numbers of sources agree.
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
