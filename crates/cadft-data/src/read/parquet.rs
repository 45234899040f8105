//! Reads Parquet files, one row at a time.

mod column;
mod delta;
mod hint;
mod levels;
mod number;
mod page;
mod scalar;
mod schema;
mod slot;
mod time;
mod value;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;
use serde_json::{Map, Value};

use super::caught::caught;
use super::compressed::{bomb, is_bomb};
use super::{BadValue, Fault, Record};
use crate::error::FORMAT_HINT;
use crate::format::{Absent, Wrong};
use crate::row::Place;
use crate::shown::short;
use column::Column;
use hint::Hint;
use page::Guarded;
use schema::{Field, Schema};
use value::{Missing, Values, shown};

/// Largest number of rows, and the target size of rows in bytes, for which unpacked pages are counted together.
const BATCH: u64 = 256;
const BATCH_BYTES: u64 = 64 << 20;

/// The rows of a Parquet file.
pub(super) struct Parquet<R> {
    input: Arc<Guarded<R>>,
    metadata: ParquetMetaData,
    fields: Vec<Field>,
    /// For each column that is read, its place in the file.
    leaves: Vec<usize>,
    /// Columns that are not read; they are reported as null, so that messages can name them.
    others: Vec<String>,
    /// The next group of rows, and the columns of the current one.
    group: usize,
    columns: Vec<Column>,
    /// Unpacked bytes of pages for a batch of rows, and the number of rows in a batch.
    unpacked: Arc<AtomicU64>,
    batch: usize,
    /// Bytes of the file, and of all rows so far.
    file_bytes: u64,
    row_bytes: u64,
    number: usize,
    has_ended: bool,
}

impl<R: ChunkReader + 'static> Parquet<R> {
    /// Opens a file and selects the columns for which `is_wanted` is true.
    pub(super) fn new(input: R, is_wanted: &dyn Fn(&str) -> bool) -> Result<Self, Fault> {
        caught(|| Self::open(input, is_wanted)).unwrap_or_else(|message| Err(unreadable(&message)))
    }

    fn open(input: R, is_wanted: &dyn Fn(&str) -> bool) -> Result<Self, Fault> {
        page::check_footer(&input).map_err(|message| Fault::new(Place::File, message))?;
        let metadata = ParquetMetaDataReader::new()
            .parse_and_finish(&input)
            .map_err(|error| unreadable(&error.to_string()))?;
        let file = metadata.file_metadata();
        let hint = Hint::of_file(file).map_err(|message| unreadable(&message))?;
        let Schema {
            fields,
            leaves,
            others,
            refused,
        } = Schema::new(file.schema_descr(), hint.as_ref(), is_wanted);
        if fields.is_empty() && refused.is_empty() {
            let wrong = Wrong::Absent(Absent {
                what: "no column is one that is read".to_owned(),
                found: others,
                hint: Some(FORMAT_HINT),
            });
            let place = Place::File;
            return Err(Fault { place, wrong });
        }
        if !refused.is_empty() {
            let wrong: Vec<_> = refused
                .iter()
                .map(|(name, reason)| format!("column `{}` is {reason}", short(name)))
                .collect();
            return Err(Fault::new(Place::File, wrong.join("; ")));
        }
        let batch = batch_size(&metadata);
        let file_bytes = input.len();
        let input = Guarded::new(input, &metadata);
        Ok(Self {
            unpacked: input.unpacked(),
            input: Arc::new(input),
            metadata,
            fields,
            leaves,
            others,
            group: 0,
            columns: Vec::new(),
            batch,
            file_bytes,
            row_bytes: 0,
            number: 0,
            has_ended: false,
        })
    }

    /// The next row; `None` at the end of the file.
    fn row(&mut self) -> Result<Option<Record>, String> {
        if self.number.is_multiple_of(self.batch) {
            self.unpacked.store(0, Ordering::Relaxed);
        }
        while !self.has_row()? {
            let Some(group) = self.metadata.row_groups().get(self.group) else {
                return Ok(None);
            };
            page::check_group(group)?;
            self.columns.clear();
            for &leaf in &self.leaves {
                self.columns.push(column(&self.input, group, leaf)?);
            }
            self.group += 1;
        }
        let (mut fields, mut bad) = (Map::new(), Vec::new());
        let mut values = Values::new(&mut self.columns);
        for field in &self.fields {
            match values.whole(field) {
                // Null values are left out.
                Ok(Value::Null) => {}
                Ok(value) => {
                    fields.insert(field.name.clone(), value);
                }
                Err(Missing::Bad(message)) => bad.push(BadValue {
                    message: shown(&field.name, &message),
                    column: field.name.clone(),
                }),
                Err(Missing::Damaged(message)) => return Err(message),
            }
        }
        self.row_bytes += values.used() as u64;
        if is_bomb(self.file_bytes, self.row_bytes) {
            return Err(bomb());
        }
        page::check_held(self.columns.iter().map(Column::held_bytes).sum())?;
        self.number += 1;
        let number = self.number;
        Ok(Some(Record { number, fields, bad }))
    }

    /// Whether the group has another row: all of its columns have, or none.
    fn has_row(&mut self) -> Result<bool, String> {
        let mut has_row = None;
        for column in &mut self.columns {
            let level = column.peek()?;
            let is_first = level.is_none_or(|level| level.repetition == 0);
            if !is_first || *has_row.get_or_insert(level.is_some()) != level.is_some() {
                return Err("the columns of a group of rows have different numbers of rows".to_owned());
            }
        }
        Ok(has_row.unwrap_or(false))
    }
}

/// A column of a group of rows.
fn column<R: ChunkReader + 'static>(
    input: &Arc<Guarded<R>>,
    group: &RowGroupMetaData,
    leaf: usize,
) -> Result<Column, String> {
    let chunk = group.columns().get(leaf);
    let chunk = chunk.ok_or_else(|| "a group of rows has fewer columns than the file".to_owned())?;
    let rows = usize::try_from(group.num_rows()).unwrap_or(0);
    let pages = SerializedPageReader::new(Arc::clone(input), chunk, rows, None);
    let pages = pages.map_err(|error| error.to_string())?;
    Ok(Column::new(chunk.column_descr(), Box::new(pages)))
}

/// Number of rows in a batch; it is smaller if rows are large.
fn batch_size(metadata: &ParquetMetaData) -> usize {
    let row_bytes = metadata.row_groups().iter().map(|group| {
        let rows = group.num_rows().max(1).unsigned_abs();
        group.total_byte_size().max(1).unsigned_abs() / rows
    });
    let longest = row_bytes.max().unwrap_or(0).max(1);
    (BATCH_BYTES / longest).clamp(1, BATCH) as usize
}

fn unreadable(message: &str) -> Fault {
    let message = format!("this is no readable Parquet: {}", said(message));
    Fault::new(Place::File, message)
}

/// The message of the decoder without the prefixes of its layers.
fn said(message: &str) -> Cow<'_, str> {
    let layers = ["Parquet error: ", "External: "];
    let inner = layers.iter().find_map(|layer| message.strip_prefix(layer));
    inner.map_or_else(|| short(message), said)
}

impl<R: ChunkReader + 'static> Iterator for Parquet<R> {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        // A decoder that has panicked must not be used again.
        match caught(|| self.row()).unwrap_or_else(Err) {
            Ok(Some(mut record)) => {
                let others = self.others.iter().map(|name| (name.clone(), Value::Null));
                record.fields.extend(others);
                Some(Ok(record))
            }
            Ok(None) => {
                self.has_ended = true;
                None
            }
            Err(message) => {
                self.has_ended = true;
                let message = format!("the rows from here on cannot be read: {}", said(&message));
                Some(Err(Fault::new(Place::Row(self.number + 1), message)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shredded::Shape;
    use crate::shredded::tests::{layouts, tables, written};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn read(bytes: Bytes) -> Result<Vec<Map<String, Value>>, String> {
        let message = |fault: Fault| match fault.wrong {
            Wrong::Value(message) => message,
            Wrong::Absent(_) => "no column is one that is read".to_owned(),
        };
        Parquet::new(bytes, &|_| true)
            .map_err(message)?
            .map(|record| record.map(|record| record.fields).map_err(message))
            .collect()
    }

    /// What a row should be read as.
    fn expected(shape: &Shape, value: Value) -> Value {
        match (shape, value) {
            (Shape::List(item), Value::Array(items)) => {
                items.into_iter().map(|value| expected(item, value)).collect()
            }
            (Shape::Struct(fields), Value::Object(mut object)) => {
                let field = |(name, of): &(String, Shape)| {
                    let value = expected(of, object.remove(name)?);
                    (!value.is_null()).then(|| (name.clone(), value))
                };
                fields.iter().filter_map(field).collect::<Map<_, _>>().into()
            }
            (_, value) => value,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn rows_of_any_shape_come_back(table in tables(), layout in layouts()) {
            let found = read(written(&table, layout));
            let (columns, rows) = table;
            let shape = Shape::Struct(columns);
            let meant: Vec<_> = rows.into_iter().map(|row| expected(&shape, Value::Object(row))).collect();
            let found: Result<Vec<_>, _> = found.map(|rows| rows.into_iter().map(Value::Object).collect());
            prop_assert_eq!(found, Ok(meant));
        }

        #[test]
        fn a_damaged_file_of_any_shape_ends(
            table in tables(),
            layout in layouts(),
            changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..5),
        ) {
            let mut bytes = written(&table, layout).to_vec();
            for (at, new) in changes {
                let at = at % bytes.len();
                bytes[at] = new;
            }
            let _ = read(Bytes::from(bytes));
        }
    }
}
