//! The rows of one file: records, shaped by the file's format.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Opened, Record};
use crate::error::{Place, Problem};
use crate::format::Shape;
use crate::row::Row;

/// The rows of one file, and in their places what is wrong with those that are none.
pub(crate) struct FileRows {
    name: Arc<str>,
    source: usize,
    opened: Opened,
    shape: Arc<Shape>,
    problems: VecDeque<Problem>,
    /// Mapped columns that no record has had so far.
    unseen: Vec<(&'static str, String)>,
    good: usize,
    bad: usize,
    has_ended: bool,
}

impl FileRows {
    pub(crate) fn new(name: &str, source: usize, opened: Opened, shape: Arc<Shape>) -> Self {
        Self {
            name: Arc::from(name),
            source,
            opened,
            unseen: shape.columns.mapped(),
            shape,
            problems: VecDeque::new(),
            good: 0,
            bad: 0,
            has_ended: false,
        }
    }

    fn row(&mut self, record: Record) -> Option<Row> {
        let Record { number, fields } = record;
        self.unseen.retain(|(_, column)| !fields.contains_key(column));
        match self.shape.row(fields, self.opened.cells) {
            Ok(mut row) => {
                self.good += 1;
                row.file = Arc::clone(&self.name);
                row.line = number;
                row.source = self.source;
                Some(row)
            }
            Err(messages) => {
                self.bad += 1;
                let place = (self.opened.place)(number);
                for message in messages {
                    self.report(place, message);
                }
                None
            }
        }
    }

    /// What only the whole file shows.
    fn end(&mut self) {
        self.has_ended = true;
        if self.good + self.bad == 0 {
            self.report(Place::File, "no rows".to_owned());
        }
        if self.bad == 0 && self.good > 0 {
            for (key, column) in std::mem::take(&mut self.unseen) {
                self.report(
                    Place::File,
                    format!("`columns.{key}`: no row has a column `{column}`"),
                );
            }
        }
    }

    fn report(&mut self, place: Place, message: String) {
        self.problems.push_back(Problem {
            path: self.name.to_string(),
            place,
            message,
        });
    }
}

impl Iterator for FileRows {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(problem) = self.problems.pop_front() {
                return Some(Err(problem));
            }
            if self.has_ended {
                return None;
            }
            match self.opened.records.next() {
                Some(Ok(record)) => {
                    if let Some(row) = self.row(record) {
                        return Some(Ok(row));
                    }
                }
                Some(Err(fault)) => {
                    self.bad += 1;
                    self.report(fault.place, fault.message);
                }
                None => self.end(),
            }
        }
    }
}
