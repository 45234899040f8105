//! The rows of one file: its records, converted by the file's format.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Opened, Record};
use crate::error::Problem;
use crate::format::{Absent, Shape, Wrong};
use crate::row::{Place, Row};
use crate::shown::names;

/// Number of bad records after which reading stops: a small file can contain hundreds of millions.
const MAX_BAD: usize = 100_000;

/// The rows of one file, with the problems of malformed records in their places.
pub(crate) struct FileRows {
    name: Arc<str>,
    source: usize,
    opened: Opened,
    shape: Arc<Shape>,
    problems: VecDeque<Problem>,
    /// The next row, which follows the pending problems.
    ready: Option<Row>,
    /// The keys that all records so far lack; `None` once a record has them.
    lacking: Option<Lacking>,
    /// Mapped columns that no record has had so far.
    unseen: Vec<(&'static str, String)>,
    good: usize,
    bad: usize,
    has_ended: bool,
}

/// The keys that all records at the start of a file lack.
#[derive(Default)]
struct Lacking {
    absent: Vec<Absent>,
    /// Places of the first such records.
    places: Vec<Place>,
    records: usize,
}

impl Lacking {
    /// Number of places that are kept.
    const PLACES: usize = 1000;

    fn add(&mut self, place: Place) {
        if self.places.len() < Self::PLACES {
            self.places.push(place);
        }
        self.records += 1;
    }
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
            ready: None,
            lacking: Some(Lacking::default()),
            good: 0,
            bad: 0,
            has_ended: false,
        }
    }

    fn row(&mut self, record: Record) -> Option<Row> {
        let Record { number, fields, bad } = record;
        self.unseen.retain(|(_, column)| !fields.contains_key(column));
        let place = (self.opened.place)(number);
        let bad: Vec<_> = bad
            .into_iter()
            .filter(|value| self.shape.reads(&value.column))
            .collect();
        if !bad.is_empty() {
            let wrong = bad.into_iter().map(|value| Wrong::Value(value.message));
            self.refuse(place, wrong.collect());
            return None;
        }
        match self.shape.row(fields, self.opened.cells) {
            Ok(mut row) => {
                self.spell_out();
                self.good += 1;
                row.file = Arc::clone(&self.name);
                row.line = number;
                row.source = self.source;
                Some(row)
            }
            Err(wrong) => {
                self.refuse(place, wrong);
                None
            }
        }
    }

    /// Records the problems of a record that is not a row.
    fn refuse(&mut self, place: Place, wrong: Vec<Wrong>) {
        self.bad += 1;
        if let Some(lacking) = &mut self.lacking
            && let Some(absent) = wrong.iter().map(Wrong::absent).collect::<Option<Vec<_>>>()
            && (lacking.records == 0 || same(&lacking.absent, &absent))
        {
            if lacking.records == 0 {
                lacking.absent = absent.into_iter().cloned().collect();
            }
            lacking.add(place);
        } else {
            self.spell_out();
            for wrong in wrong {
                self.report(place, wrong.to_string(), wrong.hint());
            }
        }
        if self.bad == MAX_BAD && !self.has_ended {
            self.end();
            let message = format!("{MAX_BAD} records are no rows; what follows is not read");
            self.report(Place::File, message, None);
        }
    }

    /// Reports each record that lacks keys which another record has.
    fn spell_out(&mut self) {
        let Some(lacking) = self.lacking.take() else {
            return;
        };
        for &place in &lacking.places {
            for absent in &lacking.absent {
                self.report(place, absent.to_string(), absent.hint);
            }
        }
        let more = lacking.records - lacking.places.len();
        if more > 0 {
            self.report(Place::File, format!("the same of {more} more records"), None);
        }
    }

    /// Reports keys that all records lack, once.
    fn sum_up(&mut self) {
        let is_every = |lacking: &Lacking| lacking.records > 1;
        let Some(lacking) = self.lacking.take_if(|lacking| is_every(lacking)) else {
            return self.spell_out();
        };
        for absent in &lacking.absent {
            let columns = match absent.found.as_slice() {
                [] => "there are no columns".to_owned(),
                found => format!("columns are {}", names(found)),
            };
            let message = format!("{} in {} rows; {columns}", absent.what, lacking.records);
            self.report(Place::File, message, absent.hint);
        }
    }

    /// Reports problems of the file as a whole.
    fn end(&mut self) {
        self.has_ended = true;
        self.sum_up();
        if self.good + self.bad == 0 {
            self.report(Place::File, "no rows".to_owned(), None);
        }
        if self.bad == 0 && self.good > 0 {
            for (key, column) in std::mem::take(&mut self.unseen) {
                let message = format!("`columns.{key}`: no row has a column `{column}`");
                self.report(Place::File, message, None);
            }
        }
    }

    fn report(&mut self, place: Place, message: String, hint: Option<&'static str>) {
        self.problems.push_back(Problem {
            hint,
            ..Problem::new(&self.name, place, message)
        });
    }
}

fn same(before: &[Absent], after: &[&Absent]) -> bool {
    before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|(before, after)| before.what == after.what)
}

impl Iterator for FileRows {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(problem) = self.problems.pop_front() {
                return Some(Err(problem));
            }
            if let Some(row) = self.ready.take() {
                return Some(Ok(row));
            }
            if self.has_ended {
                return None;
            }
            match self.opened.records.next() {
                Some(Ok(record)) => {
                    self.ready = self.row(record);
                }
                Some(Err(fault)) => self.refuse(fault.place, vec![fault.wrong]),
                None => self.end(),
            }
        }
    }
}
