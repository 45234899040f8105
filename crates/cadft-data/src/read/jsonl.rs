//! JSON Lines: one object per line.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

use super::{BadValue, Fault, MAX_RECORD_BYTES, Record, cut_short};
use crate::exact;
use crate::row::Place;
use crate::shown::{kind, short};

/// The records of JSON Lines.
pub(super) struct JsonLines<R> {
    reader: R,
    line: usize,
    buffer: Vec<u8>,
    has_ended: bool,
}

impl<R: BufRead> JsonLines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            line: 0,
            buffer: Vec::new(),
            has_ended: false,
        }
    }

    /// Reads the next line into the buffer; `None` at the end of the file, and an error for a line that is too long.
    fn read_line(&mut self) -> io::Result<Option<Result<(), String>>> {
        self.buffer.clear();
        self.line += skip_blank(&mut self.reader)?;
        let limit = MAX_RECORD_BYTES as u64 + 1;
        let read = self
            .reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if read as u64 == limit && self.buffer.last() != Some(&b'\n') {
            self.buffer.clear();
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Err(too_long())));
        }
        Ok(Some(Ok(())))
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended {
            let fault = |line, message| Some(Err(Fault::new(Place::Line(line), message)));
            match self.read_line() {
                Ok(None) => self.has_ended = true,
                Ok(Some(Err(message))) => return fault(self.line, message),
                Ok(Some(Ok(()))) => {
                    let bytes = self.buffer.trim_ascii();
                    if bytes.is_empty() {
                        continue;
                    }
                    return match object(bytes) {
                        Ok((fields, bad)) => Some(Ok(Record {
                            number: self.line,
                            fields,
                            bad,
                        })),
                        Err(message) => fault(self.line, message),
                    };
                }
                Err(error) => {
                    self.has_ended = true;
                    return fault(self.line + 1, cut_short(&error));
                }
            }
        }
        None
    }
}

/// Skips whitespace and returns the number of skipped line ends. Blank space may extend over gigabytes.
pub(super) fn skip_blank(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut lines = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let is_blank = |byte: &&u8| byte.is_ascii_whitespace();
        let blank = buffer.iter().take_while(is_blank).count();
        let is_over = blank < buffer.len() || buffer.is_empty();
        lines += buffer[..blank].iter().filter(|&&byte| byte == b'\n').count();
        reader.consume(blank);
        if is_over {
            return Ok(lines);
        }
    }
}

/// The message for a record longer than [`MAX_RECORD_BYTES`].
pub(super) fn too_long() -> String {
    format!("longer than {} MiB", MAX_RECORD_BYTES >> 20)
}

/// The fields of a JSON object, and the fields with a number that cannot be represented.
pub(super) fn object(bytes: &[u8]) -> Result<(Map<String, Value>, Vec<BadValue>), String> {
    let text = str::from_utf8(bytes)
        .map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to() + 1))?;
    exact::check_size(text)?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        // An element of a list may span several lines; the column alone would mislead.
        if error.line() > 1 {
            format!(
                "invalid JSON at column {} of its line {}: {message}",
                error.column(),
                error.line()
            )
        } else {
            format!("invalid JSON at column {}: {message}", error.column())
        }
    })?;
    match value {
        Value::Object(fields) => {
            let bad = exact::too_large(text).into_iter().map(|number| BadValue {
                message: format!("`{}`: {}", short(number.key()), number.message()),
                column: number.key().to_owned(),
            });
            Ok((fields, bad.collect()))
        }
        other => Err(format!("expected a JSON object, found {}", kind(&other))),
    }
}
