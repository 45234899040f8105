//! `rewrites.jsonl`: one record a line, appended and synchronised at the end of a round.

use super::record::{FORMAT_VERSION, Record, UndoRecord};
use crate::error::TrainError;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A log that is open for appending.
#[derive(Debug)]
pub struct RewriteLog {
    path: PathBuf,
    file: File,
}

impl RewriteLog {
    /// Opens or creates a log. An incomplete last line is removed.
    ///
    /// # Errors
    /// File errors.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let file = cadft_files::append(path).map_err(TrainError::io(path))?;
        let bytes = cadft_files::read(path).map_err(TrainError::io(path))?;
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(TrainError::io(path))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends records and synchronises the file. On an error, the log is restored to its previous length.
    ///
    /// # Errors
    /// File errors, such as a full disk.
    pub fn append(&mut self, records: &[Record]) -> Result<(), TrainError> {
        let text = text(&self.path, records)?;
        let before = self.file.metadata().map_err(TrainError::io(&self.path))?.len();
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            // If this fails too, an incomplete last line remains, which readers skip.
            let _ = self.file.set_len(before);
            TrainError::io(&self.path)(error)
        })
    }
}

/// Reads a log. An incomplete last line, left by a crash, is skipped.
///
/// # Errors
/// If the file cannot be read, or if a line is not a record; the error has the line number.
pub fn read_log(path: &Path) -> Result<Vec<Record>, TrainError> {
    let text = cadft_files::read_to_string(path).map_err(|error| {
        TrainError::mismatch(
            format!("cannot read `{}`: {error}", cadft_files::shown(&path)),
            "a run has a log of rewrites when its recipe has `[rewrite]` and a round took place",
        )
    })?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut records = vec![];
    for (number, line) in whole.lines().enumerate() {
        let record =
            serde_json::from_str(line).map_err(|error| broken(path, number + 1, &error.to_string()))?;
        match (&record, number) {
            (Record::Header(header), 0) if header.format_version == FORMAT_VERSION => {}
            (Record::Header(header), 0) => {
                let version = header.format_version;
                let message = format!("`format_version` is {version}; this program reads {FORMAT_VERSION}");
                return Err(broken(path, 1, &message));
            }
            (Record::Header(_), _) => return Err(broken(path, number + 1, "a second header")),
            (_, 0) => return Err(broken(path, 1, "the header is missing")),
            _ => {}
        }
        records.push(record);
    }
    Ok(records)
}

fn broken(path: &Path, line: usize, message: &str) -> TrainError {
    TrainError::mismatch(
        format!("{}:{line}: {message}", cadft_files::shown(&path)),
        "the log is written by `cadft train` and `cadft rewrite`, and not to be edited",
    )
}

/// Undo records in the log after the lines of a checkpoint, as far as they concern rewrites of the checkpoint.
pub(super) fn undone_since(path: &Path, known: &[Record]) -> Result<Vec<UndoRecord>, TrainError> {
    if !path.exists() {
        return Ok(vec![]);
    }
    let found = read_log(path)?;
    let common = found.iter().zip(known).take_while(|(a, b)| a == b).count();
    if common < found.len().min(known.len()) {
        let message = "the log is not that of the checkpoint";
        return Err(broken(path, common + 1, message));
    }
    let rewritten = super::replay::rewritten(known);
    let mut seen = BTreeSet::new();
    let undone = found.into_iter().skip(common).filter_map(|record| match record {
        Record::Undo(undo) if rewritten.contains(&undo.sample) && seen.insert(undo.sample) => Some(undo),
        _ => None,
    });
    Ok(undone.collect())
}

/// Makes the log consist of exactly these records. Writes only if it does not already.
pub(super) fn restore(path: &Path, records: &[Record]) -> Result<(), TrainError> {
    let text = text(path, records)?;
    match cadft_files::read(path) {
        Ok(found) if found == text.as_bytes() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && records.is_empty() => return Ok(()),
        _ => {}
    }
    if records.is_empty() {
        return fs::remove_file(path).map_err(TrainError::io(path));
    }
    cadft_files::write(path, text).map_err(TrainError::io(path))
}

fn text(path: &Path, records: &[Record]) -> Result<String, TrainError> {
    let mut text = String::new();
    for record in records {
        let line = serde_json::to_string(record).map_err(|error| TrainError::io(path)(error.into()))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataSection;
    use crate::rewrite::record::{Header, RoundRecord};
    use crate::run_files::REWRITES;

    fn header() -> Record {
        Record::Header(Header {
            format_version: FORMAT_VERSION,
            cadft: "0".to_owned(),
            model: "m".to_owned(),
            data: DataSection::default(),
            seed: u64::MAX,
            samples: 3,
            sha256: String::new(),
            template_time: None,
        })
    }

    fn round(step: usize) -> Record {
        Record::Round(RoundRecord {
            step,
            chosen: 1,
            drawn: 1,
            replaced: 0,
            sha256: String::new(),
        })
    }

    #[test]
    fn what_is_appended_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(REWRITES);
        RewriteLog::open(&path)
            .unwrap()
            .append(&[header(), round(8)])
            .unwrap();
        RewriteLog::open(&path).unwrap().append(&[round(16)]).unwrap();
        assert_eq!(read_log(&path).unwrap(), [header(), round(8), round(16)]);
    }

    #[test]
    fn a_line_without_its_end_is_left_out_and_cut_off_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(REWRITES);
        RewriteLog::open(&path)
            .unwrap()
            .append(&[header(), round(8)])
            .unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(read_log(&path).unwrap(), [header()]);
        RewriteLog::open(&path).unwrap().append(&[round(16)]).unwrap();
        assert_eq!(read_log(&path).unwrap(), [header(), round(16)]);
    }

    #[test]
    fn a_line_that_is_no_record_is_named_by_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(REWRITES);
        for (text, place) in [
            ("{}\n".to_owned(), ":1:"),
            (text(&path, &[round(8)]).unwrap(), ":1:"),
            (text(&path, &[header(), header()]).unwrap(), ":2:"),
            (
                text(&path, &[header()])
                    .unwrap()
                    .replace("_version\":1", "_version\":7"),
                "7",
            ),
        ] {
            fs::write(&path, &text).unwrap();
            let error = read_log(&path).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let path = PathBuf::from("/dev/full");
        let file = File::options().append(true).open(&path).unwrap();
        let mut log = RewriteLog { path, file };
        let error = log.append(&[header()]).unwrap_err().to_string();
        assert!(error.contains("/dev/full"), "{error}");
    }
}
