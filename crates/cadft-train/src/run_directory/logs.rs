//! Logs that grow line by line. A continued run truncates them to its checkpoint.
//!
//! If a line cannot be written, because of a full disk for example, the run continues. The line is kept, and written
//! before the next one.

use crate::checkpoint::CheckpointError;
use crate::error::TrainError;
use crate::run_files::METRICS;
use cadft_files::{Action, NewFile};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The open logs of a run, by file name.
#[derive(Debug)]
pub(super) struct Logs(BTreeMap<String, Log>);

/// A log that is open for appending.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Number of lines, including pending ones.
    lines: usize,
    /// Number of bytes that are written.
    end: u64,
    /// Complete lines that could not be written yet.
    pending: Vec<u8>,
    /// The error of writing.
    failure: Option<io::Error>,
    /// Whether the error was reported.
    told: bool,
}

impl Logs {
    /// Opens every log in `lines`, truncated to its number of lines, and `metrics.jsonl` in any case. Other files do
    /// not change.
    pub(super) fn open(directory: &Path, lines: &BTreeMap<String, usize>) -> Result<Self, TrainError> {
        let mut logs = Self(BTreeMap::new());
        for (name, &lines) in lines {
            logs.0
                .insert(name.clone(), Log::open(&directory.join(name), lines)?);
        }
        if !logs.0.contains_key(METRICS) {
            logs.0
                .insert(METRICS.to_owned(), Log::open(&directory.join(METRICS), 0)?);
        }
        Ok(logs)
    }

    /// Refuses logs that have fewer lines than recorded, and invalid file names.
    pub(super) fn check(directory: &Path, lines: &BTreeMap<String, usize>) -> Result<(), TrainError> {
        for (name, &lines) in lines {
            let path = directory.join(name);
            if name.contains(['/', '\\']) || !cadft_files::stays_below(name) {
                return Err(TrainError::Resume {
                    message: format!("`{name}` of the checkpoint's state is not the name of a log"),
                    hint: None,
                });
            }
            if lines > 0 && end_of(&path, lines)?.is_none() {
                let shown = cadft_files::shown(&path);
                return Err(TrainError::resume(
                    format!("`{shown}` has fewer lines than the {lines} it had"),
                    "restore the file; without it, the checkpoint is still a model directory to train anew from",
                ));
            }
        }
        Ok(())
    }

    /// Copies logs to another directory.
    pub(super) fn copy(from: &Path, to: &Path, lines: &BTreeMap<String, usize>) -> Result<(), TrainError> {
        for name in lines.keys().filter(|name| from.join(name).exists()) {
            let (from, to) = (from.join(name), to.join(name));
            let mut log = cadft_files::open(&from).map_err(TrainError::io(from))?;
            let copied = NewFile::create(&to).and_then(|mut copy| {
                io::copy(&mut log, &mut copy)?;
                copy.finish()
            });
            copied.map_err(TrainError::io(to))?;
        }
        Ok(())
    }

    /// Appends a line to the log `name`, which is created if it is missing.
    pub(super) fn append(
        &mut self,
        directory: &Path,
        name: &str,
        line: &impl Serialize,
    ) -> Result<(), TrainError> {
        if !self.0.contains_key(name) {
            self.0
                .insert(name.to_owned(), Log::open(&directory.join(name), 0)?);
        }
        match self.0.get_mut(name) {
            Some(log) => log.append(line),
            None => Ok(()),
        }
    }

    /// Writes pending lines. Returns the number of lines of every log, and the log files.
    pub(super) fn position(&mut self) -> Result<(BTreeMap<String, usize>, Vec<File>), CheckpointError> {
        let mut lines = BTreeMap::new();
        let mut files = vec![];
        for (name, log) in &mut self.0 {
            let file = log.write_pending().and_then(|()| log.file.try_clone());
            lines.insert(name.clone(), log.lines);
            files.push(file.map_err(CheckpointError::io(Action::Write, &log.path))?);
        }
        Ok((lines, files))
    }

    /// As [`Log::trouble`], for the first log that has one.
    pub(super) fn trouble(&mut self) -> Option<TrainError> {
        self.0.values_mut().find_map(Log::trouble)
    }

    /// As [`Log::finish`], for all logs.
    pub(super) fn finish(&mut self) -> Result<(), TrainError> {
        self.0.values_mut().map(Log::finish).fold(Ok(()), Result::and)
    }
}

impl Log {
    /// Opens a log, truncated to its first `lines` lines.
    fn open(path: &Path, lines: usize) -> Result<Self, TrainError> {
        let file = cadft_files::append(path).map_err(TrainError::io(path))?;
        let end = end_of(path, lines)?.unwrap_or(0);
        file.set_len(end).map_err(TrainError::io(path))?;
        Ok(Self::of(path, file, lines, end))
    }

    /// Opens a log at its end.
    pub(super) fn continued(path: &Path) -> Result<Self, TrainError> {
        let file = cadft_files::append(path).map_err(TrainError::io(path))?;
        let end = file.metadata().map_err(TrainError::io(path))?.len();
        Ok(Self::of(path, file, 0, end))
    }

    fn of(path: &Path, file: File, lines: usize, end: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            lines,
            end,
            pending: vec![],
            failure: None,
            told: false,
        }
    }

    /// Appends `value` as one line of JSON, after the pending lines. If writing fails, the line is pending too.
    pub(super) fn append(&mut self, value: &impl Serialize) -> Result<(), TrainError> {
        let line = serde_json::to_vec(value).map_err(|error| TrainError::io(&self.path)(error.into()))?;
        self.pending.extend(line);
        self.pending.push(b'\n');
        self.lines += 1;
        match self.write_pending() {
            Ok(()) => self.told = false,
            Err(error) => self.failure = Some(error),
        }
        Ok(())
    }

    /// Writes the pending lines in one call, so that a process that is killed leaves at most one incomplete line, the
    /// last.
    fn write_pending(&mut self) -> io::Result<()> {
        self.file.write_all(&self.pending).inspect_err(|_| {
            // If this fails too, an incomplete last line remains, which readers skip.
            let _ = self.file.set_len(self.end);
        })?;
        self.end += self.pending.len() as u64;
        self.pending.clear();
        self.failure = None;
        Ok(())
    }

    /// The error that keeps lines pending. Reported once, until writing succeeds.
    pub(super) fn trouble(&mut self) -> Option<TrainError> {
        let failure = self.failure.take_if(|_| !self.told)?;
        self.told = true;
        Some(TrainError::io(&self.path)(failure))
    }

    /// Writes the pending lines.
    ///
    /// # Errors
    /// If they still cannot be written.
    pub(super) fn finish(&mut self) -> Result<(), TrainError> {
        self.write_pending().map_err(TrainError::io(&self.path))
    }
}

/// The byte position after the first `lines` lines of a file; `None` if it has fewer lines or does not exist.
fn end_of(path: &Path, lines: usize) -> Result<Option<u64>, TrainError> {
    let file = match cadft_files::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(TrainError::io(path))?,
    };
    let mut reader = BufReader::new(file);
    let (mut end, mut line) = (0, vec![]);
    for _ in 0..lines {
        line.clear();
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(TrainError::io(path))?;
        if line.last() != Some(&b'\n') {
            return Ok(None);
        }
        end += read as u64;
    }
    Ok(Some(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_log_is_cut_back_to_whole_lines_and_grows_from_there() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("metrics.jsonl");
        fs::write(&path, "1\n22\n333\n44").expect("a file");
        let lines = BTreeMap::from([("metrics.jsonl".to_owned(), 2)]);
        assert!(Logs::check(directory.path(), &lines).is_ok());
        let mut logs = Logs::open(directory.path(), &lines).expect("it opens");
        logs.append(directory.path(), "metrics.jsonl", &5)
            .expect("it grows");
        logs.append(directory.path(), "rewrites.jsonl", &6)
            .expect("a new log");
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n22\n5\n");
        let (lines, _) = logs.position().unwrap();
        assert_eq!(lines["metrics.jsonl"], 3);
        assert_eq!(lines["rewrites.jsonl"], 1);
    }

    #[test]
    fn a_log_that_lost_lines_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let lines = BTreeMap::from([("metrics.jsonl".to_owned(), 2)]);
        assert!(Logs::check(directory.path(), &lines).is_err());
        fs::write(directory.path().join("metrics.jsonl"), "1\n2").expect("a file");
        let error = Logs::check(directory.path(), &lines).unwrap_err().to_string();
        assert!(error.contains("fewer lines than the 2"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn lines_that_cannot_be_written_are_told_once_and_written_when_they_can_be() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("metrics.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        log.append(&1).unwrap();
        let disk = std::mem::replace(
            &mut log.file,
            File::options()
                .append(true)
                .open("/dev/full")
                .expect("a full disk"),
        );
        for line in [2, 3] {
            log.append(&line).unwrap();
        }
        let told = log.trouble().map(|error| error.to_string());
        assert!(told.is_some_and(|told| told.contains("metrics.jsonl")));
        log.append(&4).unwrap();
        assert!(log.trouble().is_none(), "told twice");
        assert!(log.finish().is_err(), "the end of a run must not hide it");
        log.file = disk;
        log.append(&5).unwrap();
        log.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n3\n4\n5\n");
        assert_eq!(log.lines, 5);
    }
}
