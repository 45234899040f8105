//! Assembles the values of rows from the levels of their columns, as Dremel does (Melnik et al., 2010, section 4.3).
//!
//! Text and UTF-8 bytes become strings. Text in a JSON column is parsed. A null in a struct is an absent key, because
//! every struct of a column has every key.

use std::ops::Range;

use serde_json::{Map, Value};

use super::super::MAX_RECORD_BYTES;
use super::super::jsonl::too_long;
use super::column::{Column, Level};
use super::scalar::{Raw, Scalar};
use super::schema::{Field, Kind, Repeated};
use crate::exact;
use crate::shown::short;

/// Smallest size that is counted for a value: a list of nulls takes no bytes in a file.
const LEAST_BYTES: usize = 16;

/// Why there is no value.
pub(super) enum Missing {
    /// The value is a bad one; the message begins with the place within the column.
    Bad(String),
    /// The file cannot be read any further.
    Damaged(String),
}

/// Makes the values of one row, up to a limit of bytes.
pub(super) struct Values<'a> {
    columns: &'a mut [Column],
    left: usize,
}

impl<'a> Values<'a> {
    pub(super) fn new(columns: &'a mut [Column]) -> Self {
        columns.iter_mut().for_each(Column::begin);
        Self {
            columns,
            left: MAX_RECORD_BYTES,
        }
    }

    /// Number of bytes counted so far.
    pub(super) fn used(&self) -> usize {
        MAX_RECORD_BYTES - self.left
    }

    /// The value of a column. The columns are at the end of the row then, unless the file is damaged.
    pub(super) fn whole(&mut self, field: &Field) -> Result<Value, Missing> {
        let value = self.value(field);
        if let Err(Missing::Bad(_)) = value {
            for column in &mut self.columns[field.columns.clone()] {
                column.end().map_err(Missing::Damaged)?;
            }
        }
        value
    }

    fn value(&mut self, field: &Field) -> Result<Value, Missing> {
        self.count(LEAST_BYTES)?;
        let definition = self.level(field.columns.start)?.definition;
        if definition < field.definition {
            self.nothing(field.columns.clone(), field.definition)?;
            return Ok(Value::Null);
        }
        match &field.kind {
            Kind::Scalar(scalar) => self.scalar(scalar, field.columns.start),
            Kind::Struct(fields) => self.object(fields),
            Kind::List(item, repeated) => self.list(item, *repeated, definition),
            Kind::Map(pair, repeated) => self.map(pair, *repeated, definition),
        }
    }

    fn scalar(&mut self, scalar: &Scalar, column: usize) -> Result<Value, Missing> {
        let raw = self.columns[column].take().map_err(Missing::Damaged)?;
        let raw = raw.ok_or_else(uneven)?;
        let (Scalar::Text { is_json, .. }, Raw::Bytes(bytes)) = (scalar, raw) else {
            return scalar.value(raw).map_err(Missing::Bad);
        };
        let text = str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to() + 1;
            Missing::Bad(format!(
                "bytes that are no UTF-8 text, at byte {at}; write it as text"
            ))
        })?;
        self.left = (self.left.checked_sub(text.len())).ok_or_else(|| Missing::Bad(too_long()))?;
        if *is_json {
            exact::value(text).map_err(Missing::Bad)
        } else {
            Ok(Value::from(text))
        }
    }

    fn object(&mut self, fields: &[Field]) -> Result<Value, Missing> {
        let mut object = Map::new();
        for field in fields {
            let value = self
                .value(field)
                .map_err(|missing| missing.within(&format!(".{}", field.name)))?;
            if !value.is_null() {
                object.insert(field.name.clone(), value);
            }
        }
        Ok(Value::Object(object))
    }

    fn list(&mut self, item: &Field, repeated: Repeated, definition: u16) -> Result<Value, Missing> {
        let mut items = Vec::new();
        let mut has_more = definition >= repeated.definition;
        if !has_more {
            self.nothing(item.columns.clone(), repeated.definition)?;
        }
        while has_more {
            let value = self.value(item);
            items.push(value.map_err(|missing| missing.within(&format!("[{}]", items.len())))?);
            has_more = self.has_more(item.columns.clone(), repeated)?;
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, pair: &[Field; 2], repeated: Repeated, definition: u16) -> Result<Value, Missing> {
        let [key_field, field] = pair;
        let columns = key_field.columns.start..field.columns.end;
        let mut object = Map::new();
        let mut has_more = definition >= repeated.definition;
        if !has_more {
            self.nothing(columns.clone(), repeated.definition)?;
        }
        while has_more {
            let key = self.value(key_field)?;
            let key = key.as_str().unwrap_or_default().to_owned();
            let value = self
                .value(field)
                .map_err(|missing| missing.within(&format!(".{key}")))?;
            object.insert(key, value);
            has_more = self.has_more(columns.clone(), repeated)?;
        }
        Ok(Value::Object(object))
    }

    /// Whether a list continues after one of its items.
    fn has_more(&mut self, columns: Range<usize>, repeated: Repeated) -> Result<bool, Missing> {
        let is_next = |column: &mut Column| match column.peek() {
            Ok(Some(Level { repetition, .. })) if repetition > repeated.repetition => Err(uneven()),
            Ok(level) => Ok(level.is_some_and(|level| level.repetition == repeated.repetition)),
            Err(message) => Err(Missing::Damaged(message)),
        };
        let [first, others @ ..] = &mut self.columns[columns] else {
            return Ok(false);
        };
        let has_more = is_next(first)?;
        for column in others {
            if is_next(column)? != has_more {
                return Err(uneven());
            }
        }
        Ok(has_more)
    }

    /// Steps over the level of each column that says that something is null or empty.
    fn nothing(&mut self, columns: Range<usize>, definition: u16) -> Result<(), Missing> {
        for column in columns {
            if self.level(column)?.definition >= definition {
                return Err(uneven());
            }
            self.columns[column].take().map_err(Missing::Damaged)?;
        }
        Ok(())
    }

    fn level(&mut self, column: usize) -> Result<Level, Missing> {
        let level = self.columns[column].peek().map_err(Missing::Damaged)?;
        level.ok_or_else(uneven)
    }

    fn count(&mut self, bytes: usize) -> Result<(), Missing> {
        self.left = (self.left.checked_sub(bytes)).ok_or_else(|| Missing::Bad(too_long()))?;
        Ok(())
    }
}

impl Missing {
    /// Puts a step before the place at the start of a message. Place and message are separated by a tab until they are
    /// shown.
    fn within(self, step: &str) -> Self {
        match self {
            Self::Bad(message) => {
                let (place, message) = message.split_once('\t').unwrap_or(("", &message));
                Self::Bad(format!("{}{place}\t{message}", short(step)))
            }
            damaged @ Self::Damaged(_) => damaged,
        }
    }
}

fn uneven() -> Missing {
    Missing::Damaged("the columns of a struct or list do not fit together".to_owned())
}

/// The message about a value of a column.
pub(super) fn shown(column: &str, message: &str) -> String {
    let (place, message) = message.split_once('\t').unwrap_or(("", message));
    format!("`{}{}`: {message}", short(column), short(place))
}
