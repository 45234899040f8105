//! A JSON list of objects, read one element at a time.

use std::io::{self, BufRead};

use super::jsonl::{object, skip_blank, too_long};
use super::{Fault, MAX_RECORD_BYTES, Record, cut_short};
use crate::row::Place;

const UNCLOSED: &str = "the file ends before the list does";

/// The records of a JSON list. An element that is not JSON causes one fault, and reading continues after it.
pub(super) struct JsonArray<R> {
    reader: R,
    /// The current line, counted from 1.
    line: usize,
    element: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the opening bracket.
    Start,
    /// Before the first element.
    First,
    /// After a comma.
    Next,
    /// After the closing bracket.
    Closed,
    Ended,
}

/// What ended an element.
enum End {
    Comma,
    Bracket,
    File,
}

/// The state of the scan within an element.
#[derive(Default)]
struct Scan {
    depth: usize,
    is_string: bool,
    is_escaped: bool,
}

impl Scan {
    /// Whether this byte ends the element.
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.is_string {
            if self.is_escaped {
                self.is_escaped = false;
            } else if byte == b'\\' {
                self.is_escaped = true;
            } else if byte == b'"' {
                self.is_string = false;
            }
            return false;
        }
        match byte {
            b'"' => self.is_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return true,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

impl<R: BufRead> JsonArray<R> {
    /// Starts reading a list whose first non-blank byte is the opening bracket.
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            line: 1,
            element: Vec::new(),
            state: State::Start,
        }
    }

    /// Skips whitespace; returns the next byte without consuming it.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        self.line += skip_blank(&mut self.reader)?;
        Ok(self.reader.fill_buf()?.first().copied())
    }

    /// Reads an element into the buffer. An element that is too long is only measured.
    fn read_element(&mut self) -> io::Result<(End, usize)> {
        self.element.clear();
        let (mut scan, mut length) = (Scan::default(), 0);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok((End::File, length));
            }
            let end = buffer.iter().position(|&byte| scan.ends_at(byte));
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let (used, terminator) = (part.len(), end.map(|end| buffer[end]));
            self.line += part.iter().filter(|&&byte| byte == b'\n').count();
            length += used;
            if length <= MAX_RECORD_BYTES {
                self.element.extend_from_slice(part);
            }
            self.reader.consume(used + usize::from(end.is_some()));
            match terminator {
                Some(b',') => return Ok((End::Comma, length)),
                Some(_) => return Ok((End::Bracket, length)),
                None => {}
            }
        }
    }

    fn step(&mut self) -> io::Result<Option<Result<Record, Fault>>> {
        let next = self.skip_space()?;
        let line = self.line;
        let fault = |message: &str| Ok(Some(Err(Fault::new(Place::Line(line), message.to_owned()))));
        match (self.state, next) {
            (State::Start, Some(_)) => {
                self.reader.consume(1);
                self.state = State::First;
                Ok(None)
            }
            (State::Closed, Some(_)) => {
                self.state = State::Ended;
                fault("text after the end of the list")
            }
            (State::Closed | State::Ended, _) => {
                self.state = State::Ended;
                Ok(None)
            }
            (_, None) => {
                self.state = State::Ended;
                fault(UNCLOSED)
            }
            (State::First, Some(b']')) => {
                self.reader.consume(1);
                self.state = State::Closed;
                Ok(None)
            }
            (State::Next, Some(b']')) => {
                self.reader.consume(1);
                self.state = State::Closed;
                fault("a comma before the end of the list")
            }
            _ => self.element(line).map(Some),
        }
    }

    fn element(&mut self, line: usize) -> io::Result<Result<Record, Fault>> {
        let (end, length) = self.read_element()?;
        let is_last = matches!(end, End::File);
        let mut parsed = if length > MAX_RECORD_BYTES {
            Err(too_long())
        } else {
            object(self.element.trim_ascii())
        };
        self.state = match end {
            End::Comma => State::Next,
            End::Bracket => State::Closed,
            // A complete element is kept; the next step finds the end of the file.
            End::File if parsed.is_ok() => State::Next,
            End::File => State::Ended,
        };
        if is_last && parsed.is_err() {
            parsed = Err(UNCLOSED.to_owned());
        }
        Ok(parsed
            .map(|(fields, bad)| Record {
                number: line,
                fields,
                bad,
            })
            .map_err(|message| Fault::new(Place::Line(line), message)))
    }
}

impl<R: BufRead> Iterator for JsonArray<R> {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.state != State::Ended {
            match self.step() {
                Ok(Some(item)) => return Some(item),
                Ok(None) => {}
                Err(error) => {
                    self.state = State::Ended;
                    return Some(Err(Fault::new(Place::Line(self.line), cut_short(&error))));
                }
            }
        }
        None
    }
}
