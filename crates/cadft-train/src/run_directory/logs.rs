//! Logs that grow line by line, and that a continued run cuts back to its checkpoint.

use super::METRICS;
use crate::error::TrainError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

/// The open logs of a run, by file name.
#[derive(Debug)]
pub(super) struct Logs(BTreeMap<String, Log>);

#[derive(Debug)]
struct Log {
    file: File,
    lines: usize,
}

impl Logs {
    /// Opens every log of `lines` at that many lines, cutting off the rest, and `metrics.jsonl` in any case. Other files
    /// are left alone.
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

    /// Refuses logs that have fewer lines than they had.
    pub(super) fn check(directory: &Path, lines: &BTreeMap<String, usize>) -> Result<(), TrainError> {
        for (name, &lines) in lines {
            let path = directory.join(name);
            if lines > 0 && end_of(&path, lines)?.is_none() {
                return Err(TrainError::Resume {
                    message: format!(
                        "`{}` has fewer lines than the {lines} it had\n\
                         hint: restore the file; without it, the checkpoint is still a model directory to train anew from",
                        path.display()
                    ),
                });
            }
        }
        Ok(())
    }

    /// Copies the first lines of logs to another directory.
    pub(super) fn copy(from: &Path, to: &Path, lines: &BTreeMap<String, usize>) -> Result<(), TrainError> {
        for name in lines.keys().filter(|name| from.join(name).exists()) {
            fs::copy(from.join(name), to.join(name)).map_err(TrainError::io(to.join(name)))?;
        }
        Ok(())
    }

    /// Appends a line to the log called `name`, which is made where there is none.
    pub(super) fn append(
        &mut self,
        directory: &Path,
        name: &str,
        line: &impl Serialize,
    ) -> Result<(), TrainError> {
        let path = directory.join(name);
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Log::open(&path, 0)?);
        }
        let Some(log) = self.0.get_mut(name) else {
            return Ok(());
        };
        append(&mut log.file, line).map_err(TrainError::io(path))?;
        log.lines += 1;
        Ok(())
    }

    /// The number of lines of every log, and the logs.
    pub(super) fn position(
        &self,
        directory: &Path,
    ) -> Result<(BTreeMap<String, usize>, Vec<File>), TrainError> {
        let mut lines = BTreeMap::new();
        let mut files = vec![];
        for (name, log) in &self.0 {
            lines.insert(name.clone(), log.lines);
            files.push(
                log.file
                    .try_clone()
                    .map_err(TrainError::io(directory.join(name)))?,
            );
        }
        Ok((lines, files))
    }
}

impl Log {
    fn open(path: &Path, lines: usize) -> Result<Self, TrainError> {
        let end = if path.exists() { end_of(path, lines)? } else { None };
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(TrainError::io(path))?;
        file.set_len(end.unwrap_or(0)).map_err(TrainError::io(path))?;
        Ok(Self { file, lines })
    }
}

/// The byte after the first `lines` lines of a file; `None` where it has fewer, or is not there.
fn end_of(path: &Path, lines: usize) -> Result<Option<u64>, TrainError> {
    let file = match File::open(path) {
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

/// Writes `value` as one line of JSON, in one call, so that a process that is killed leaves no line without its end
/// except the last.
pub(super) fn append(file: &mut File, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (lines, _) = logs.position(directory.path()).unwrap();
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
}
