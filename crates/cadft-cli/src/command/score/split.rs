//! `--keep-below Z --kept FILE --dropped FILE`: copies the rows, unchanged, into two files.
//!
//! Rows with a standardised score below Z (CADFT-2) are kept. Rows without a score, because no token of them would be
//! trained, are dropped.

use crate::args::{InputArgs, ScoreArgs};
use crate::console::{count, counted, note};
use crate::destination;
use crate::hint::UsageError;
use crate::model::sources;
use anyhow::{Context, Result};
use cadft_data::{Origin, Source};
use cadft_files::{NewFile, shown};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Collects which rows to keep.
pub(super) struct Split {
    keep_below: f64,
    kept: PathBuf,
    dropped: Option<PathBuf>,
    /// The line numbers of kept rows, by source and file.
    lines: HashMap<(usize, PathBuf), HashSet<usize>>,
    /// Number of rows dropped because of their score.
    incompatible: usize,
}

/// Number of rows in each file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    kept: usize,
    dropped: usize,
}

impl Split {
    /// The split of `--keep-below`. Refuses files that cannot be written, and data that are not JSON Lines.
    pub(super) fn of(args: &ScoreArgs) -> Result<Option<Self>> {
        let (Some(keep_below), Some(kept)) = (args.keep_below, &args.kept) else {
            return Ok(None);
        };
        for out in [Some(kept), args.dropped.as_ref()].into_iter().flatten() {
            destination::file_of(Some(out), &args.input)?;
        }
        if args
            .dropped
            .as_ref()
            .is_some_and(|dropped| cadft_files::is_same(dropped, kept) || dropped == kept)
        {
            return Err(UsageError::new(
                format!("`--kept` and `--dropped` are both `{}`", shown(kept)),
                "give two files",
            )
            .into());
        }
        refuse_other_files(&args.input)?;
        Ok(Some(Self {
            keep_below,
            kept: kept.clone(),
            dropped: args.dropped.clone(),
            lines: HashMap::new(),
            incompatible: 0,
        }))
    }

    /// Adds the next sample.
    pub(super) fn push(&mut self, origin: &Origin, z: f64) {
        if z < self.keep_below {
            let file = (origin.source, PathBuf::from(&*origin.path));
            self.lines.entry(file).or_default().insert(origin.line);
        } else {
            self.incompatible += 1;
        }
    }

    /// Writes the files, and reports how many rows each has. Returns the file of the kept rows.
    pub(super) fn write(&self, sources: &[Source]) -> Result<&Path> {
        let counts = self.copy(sources)?;
        let place = |path: &Path| format!(" (`{}`)", shown(&path));
        let without = counts.dropped - self.incompatible.min(counts.dropped);
        note(format!(
            "\nkept: {}{}, dropped: {}{}: {} with z ≥ {}, {without} of which nothing is trained",
            counted(counts.kept, "row"),
            place(&self.kept),
            count(counts.dropped),
            self.dropped.as_deref().map(place).unwrap_or_default(),
            count(self.incompatible),
            self.keep_below,
        ));
        note(
            "a wrong answer that reads well has no high z: look at what is dropped, and do not take what is kept for right",
        );
        Ok(&self.kept)
    }

    fn copy(&self, sources: &[Source]) -> Result<Counts> {
        let create = |path: &PathBuf| {
            let file = NewFile::create(path).with_context(|| cannot_write(path))?;
            anyhow::Ok(BufWriter::new(file))
        };
        let mut kept = create(&self.kept)?;
        let mut dropped = self.dropped.as_ref().map(create).transpose()?;
        let mut counts = Counts::default();
        let none = HashSet::new();
        for (number, source) in sources.iter().enumerate() {
            for file in source.files()? {
                let wanted = self.lines.get(&(number, file.clone())).unwrap_or(&none);
                each_line(&file, |line, text| {
                    if wanted.contains(&line) {
                        counts.kept += 1;
                        return write_line(&mut kept, text, &self.kept);
                    }
                    counts.dropped += 1;
                    match (&mut dropped, &self.dropped) {
                        (Some(out), Some(path)) => write_line(out, text, path),
                        _ => Ok(()),
                    }
                })?;
            }
        }
        finish(kept, &self.kept)?;
        if let (Some(out), Some(path)) = (dropped, &self.dropped) {
            finish(out, path)?;
        }
        Ok(counts)
    }
}

/// Refuses data in other kinds of files: only lines can be copied unchanged.
fn refuse_other_files(input: &InputArgs) -> Result<()> {
    for file in destination::files_of(&sources(&input.data, &input.source)?) {
        let name = file.to_string_lossy().to_lowercase();
        if !name.ends_with(".jsonl") && !name.ends_with(".ndjson") {
            return Err(UsageError::new(
                format!(
                    "`--keep-below`: `{}` is not a file of JSON Lines (`.jsonl`)",
                    shown(&file)
                ),
                "make it one first: `cadft data convert --data FILE --to FORMAT --out FILE.jsonl`",
            )
            .into());
        }
    }
    Ok(())
}

/// Calls `take` with the number and the text, without its line end, of every line that is not empty.
fn each_line(path: &Path, mut take: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
    let context = || format!("cannot read `{}`", shown(&path));
    let mut file = BufReader::new(File::open(path).with_context(context)?);
    let mut text = Vec::new();
    let mut line = 0;
    loop {
        text.clear();
        if file.read_until(b'\n', &mut text).with_context(context)? == 0 {
            return Ok(());
        }
        line += 1;
        let text = match line {
            1 => text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text),
            _ => &text,
        };
        let text = text.trim_ascii();
        if !text.is_empty() {
            take(line, text)?;
        }
    }
}

fn write_line(out: &mut impl Write, text: &[u8], path: &Path) -> Result<()> {
    let written = out.write_all(text).and_then(|()| out.write_all(b"\n"));
    written.with_context(|| cannot_write(path))
}

fn finish(out: BufWriter<NewFile>, path: &Path) -> Result<()> {
    let file = out.into_inner().map_err(io::IntoInnerError::into_error);
    file.and_then(NewFile::finish).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`", shown(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_of_the_files_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(
            path("a.jsonl"),
            "\u{feff}{\"text\": 1,  \"x\": 2}\r\n\n{\"text\": 2}\n{\"text\": 3}",
        )
        .unwrap();
        std::fs::write(path("b.jsonl"), "{\"text\": 4}\n").unwrap();
        let sources = ["a.jsonl", "b.jsonl"].map(|name| Source::new(path(name).to_string_lossy()));
        let mut split = Split {
            keep_below: 1.0,
            kept: path("kept.jsonl"),
            dropped: Some(path("dropped.jsonl")),
            lines: HashMap::new(),
            incompatible: 0,
        };
        // Line 4 of the first file has no score.
        for (source, file, line, z) in [
            (0, "a.jsonl", 1, 0.5),
            (0, "a.jsonl", 3, 1.0),
            (1, "b.jsonl", 1, -3.0),
        ] {
            let origin = Origin {
                source,
                path: path(file).to_string_lossy().into(),
                line,
                ..Origin::default()
            };
            split.push(&origin, z);
        }
        assert_eq!(split.incompatible, 1);
        assert_eq!(split.copy(&sources).unwrap(), Counts { kept: 2, dropped: 2 });
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        assert_eq!(read("kept.jsonl"), "{\"text\": 1,  \"x\": 2}\n{\"text\": 4}\n");
        assert_eq!(read("dropped.jsonl"), "{\"text\": 2}\n{\"text\": 3}\n");
    }
}
