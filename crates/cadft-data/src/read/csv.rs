//! Comma- or tab-separated values with a header. Every value is text; a value may span lines in quotes.

use std::collections::HashSet;
use std::io::{self, BufRead, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::jsonl::too_long;
use super::{Fault, MAX_RECORD_BYTES, Record, cut_short};
use crate::row::Place;
use crate::shown::short;

/// Largest number of columns in a table.
const MAX_COLUMNS: usize = 10_000;

/// Appended to the file: it is a record by itself, unless the file ends within quotes.
const END: &str = "\u{1F}end of file\u{1F}";

/// The records of a table of separated values.
pub(super) struct Csv<R> {
    reader: Reader<Chain<Limited<R>, Cursor<String>>>,
    /// Bytes read since the last record.
    read: Arc<AtomicUsize>,
    header: Option<Vec<String>>,
    record: ByteRecord,
    has_ended: bool,
}

impl<R: BufRead> Csv<R> {
    pub(super) fn new(reader: R, delimiter: u8) -> Self {
        let read = Arc::new(AtomicUsize::new(0));
        let limited = Limited {
            reader,
            read: Arc::clone(&read),
        };
        Self {
            reader: ReaderBuilder::new()
                .delimiter(delimiter)
                .flexible(true)
                .has_headers(false)
                .from_reader(limited.chain(Cursor::new(format!("\n{END}\n")))),
            read,
            header: None,
            record: ByteRecord::new(),
            has_ended: false,
        }
    }

    /// Reads a record and returns its line; `None` at the end of the file.
    fn read_record(&mut self) -> Result<Option<usize>, Fault> {
        self.read.store(0, Ordering::Relaxed);
        let before = self.reader.position().line() as usize;
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) if self.record.len() == 1 && &self.record[0] == END.as_bytes() => Ok(None),
            Ok(true) => {
                let line = self
                    .record
                    .position()
                    .map_or(before, |position| position.line() as usize);
                let last = self.record.iter().next_back().unwrap_or_default();
                if last.windows(END.len()).any(|window| window == END.as_bytes()) {
                    return Err(self.fatal(line, "a quote is opened and never closed".to_owned()));
                }
                Ok(Some(line))
            }
            Err(error) => {
                let line = error
                    .position()
                    .map_or(before, |position| position.line() as usize);
                let message = match error.into_kind() {
                    ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => too_long(),
                    ErrorKind::Io(error) => cut_short(&error),
                    other => format!("{other:?}"),
                };
                Err(self.fatal(line, message))
            }
        }
    }

    fn fatal(&mut self, line: usize, message: String) -> Fault {
        self.has_ended = true;
        Fault::new(Place::Line(line), message)
    }

    /// The names of the columns; `None` for an empty file.
    fn read_header(&mut self) -> Result<Option<Vec<String>>, Fault> {
        let Some(line) = self.read_record()? else {
            return Ok(None);
        };
        if self.record.len() > MAX_COLUMNS {
            return Err(self.fatal(line, format!("more than {MAX_COLUMNS} columns")));
        }
        let names = texts(&self.record).map_err(|message| self.fatal(line, message))?;
        let mut seen = HashSet::new();
        for name in &names {
            if !seen.insert(name) {
                return Err(self.fatal(line, format!("two columns are called `{}`", short(name))));
            }
        }
        Ok(Some(names))
    }

    fn step(&mut self) -> Result<Option<Record>, Fault> {
        if self.header.is_none() {
            self.header = self.read_header()?;
        }
        if self.header.is_none() {
            return Ok(None);
        }
        let Some(line) = self.read_record()? else {
            return Ok(None);
        };
        let header = self.header.as_deref().unwrap_or_default();
        let fault = |message| Fault::new(Place::Line(line), message);
        if self.record.len() != header.len() {
            return Err(fault(format!(
                "{} values, but the header has {} columns",
                self.record.len(),
                header.len()
            )));
        }
        let values = texts(&self.record).map_err(fault)?;
        let fields: Map<String, Value> = header
            .iter()
            .cloned()
            .zip(values.into_iter().map(Value::from))
            .collect();
        Ok(Some(Record {
            number: line,
            fields,
            bad: Vec::new(),
        }))
    }
}

fn texts(record: &ByteRecord) -> Result<Vec<String>, String> {
    let text = |(index, bytes): (usize, &[u8])| match str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "invalid UTF-8 in value {}, at its byte {}",
            index + 1,
            error.valid_up_to() + 1
        )),
    };
    record.iter().enumerate().map(text).collect()
}

impl<R: BufRead> Iterator for Csv<R> {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        match self.step() {
            Ok(Some(record)) => Some(Ok(record)),
            Ok(None) => {
                self.has_ended = true;
                None
            }
            Err(fault) => Some(Err(fault)),
        }
    }
}

/// Stops an unclosed quote from filling the memory.
struct Limited<R> {
    reader: R,
    read: Arc<AtomicUsize>,
}

impl<R: BufRead> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let read = self.read.fetch_add(count, Ordering::Relaxed) + count;
        if read > MAX_RECORD_BYTES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(count)
    }
}
