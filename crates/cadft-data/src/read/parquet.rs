//! Reads Parquet files, one batch of rows at a time.

mod page;
mod value;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use serde_json::{Map, Value};

use super::caught::caught;
use super::compressed::{bomb, is_bomb};
use super::{BadValue, Fault, Record};
use crate::error::FORMAT_HINT;
use crate::format::{Absent, Wrong};
use crate::row::Place;
use crate::shown::short;
use page::Guarded;
use value::{Values, refused, shown};

/// Largest number of rows in a batch, and the target size of a batch in bytes.
const BATCH: u64 = 256;
const BATCH_BYTES: u64 = 64 << 20;

/// The rows of a Parquet file.
pub(super) struct Parquet {
    reader: ParquetRecordBatchReader,
    /// Columns that are not read; they are reported as null, so that messages can name them.
    others: Vec<String>,
    batch: Option<RecordBatch>,
    /// Unpacked bytes of pages for the batch.
    unpacked: Arc<AtomicU64>,
    /// Bytes of the file, and of all rows so far.
    file_bytes: u64,
    row_bytes: u64,
    /// The next row of the batch.
    next: usize,
    number: usize,
    has_ended: bool,
}

impl Parquet {
    /// Opens a file and selects the columns for which `is_wanted` is true.
    pub(super) fn new(
        input: impl ChunkReader + 'static,
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        caught(|| Self::open(input, is_wanted)).unwrap_or_else(|message| Err(unreadable(&message)))
    }

    fn open(input: impl ChunkReader + 'static, is_wanted: &dyn Fn(&str) -> bool) -> Result<Self, Fault> {
        page::check_footer(&input).map_err(|message| Fault::new(Place::File, message))?;
        let metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::new())
            .map_err(|error| unreadable(&error.to_string()))?;
        let fields = metadata.schema().fields();
        let (mut wanted, mut others) = (Vec::new(), Vec::new());
        for (index, field) in fields.iter().enumerate() {
            if is_wanted(field.name()) {
                wanted.push(index);
            } else {
                others.push(field.name().clone());
            }
        }
        if wanted.is_empty() {
            let wrong = Wrong::Absent(Absent {
                what: "no column is one that is read".to_owned(),
                found: others,
                hint: Some(FORMAT_HINT),
            });
            let place = Place::File;
            return Err(Fault { place, wrong });
        }
        let wrong = wanted.iter().filter_map(|&index| {
            let reason = refused(fields[index].data_type())?;
            Some(format!("column `{}` is {reason}", short(fields[index].name())))
        });
        let wrong: Vec<_> = wrong.collect();
        if !wrong.is_empty() {
            return Err(Fault::new(Place::File, wrong.join("; ")));
        }
        let mask = ProjectionMask::roots(metadata.parquet_schema(), wanted);
        let batch = batch_size(metadata.metadata());
        let file_bytes = input.len();
        let input = Guarded::new(input, metadata.metadata());
        let unpacked = input.unpacked();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(input, with_views(metadata))
            .with_projection(mask)
            .with_batch_size(batch)
            .build()
            .map_err(|error| unreadable(&error.to_string()))?;
        Ok(Self {
            reader,
            others,
            batch: None,
            unpacked,
            file_bytes,
            row_bytes: 0,
            next: 0,
            number: 0,
            has_ended: false,
        })
    }

    /// The next row; `None` at the end of the file.
    fn row(&mut self) -> Result<Option<Record>, String> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.next < batch.num_rows()) {
                let mut values = Values::new();
                let record = record(batch, self.next, self.number + 1, &mut values);
                self.row_bytes += values.used() as u64;
                if is_bomb(self.file_bytes, self.row_bytes) {
                    return Err(bomb());
                }
                self.next += 1;
                self.number += 1;
                return Ok(Some(record));
            }
            self.batch = None;
            self.unpacked.store(0, Ordering::Relaxed);
            match self.reader.next() {
                None => return Ok(None),
                Some(batch) => {
                    self.batch = Some(batch.map_err(|error| error.to_string())?);
                    self.next = 0;
                }
            }
        }
    }
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
    let layers = [
        "Parquet argument error: ",
        "Parquet error: ",
        "Arrow: ",
        "External: ",
    ];
    let inner = layers.iter().find_map(|layer| message.strip_prefix(layer));
    inner.map_or_else(|| short(message), said)
}

/// Converts a row of a batch to a record. Null values are left out.
fn record(batch: &RecordBatch, row: usize, number: usize, values: &mut Values) -> Record {
    let (mut fields, mut bad) = (Map::new(), Vec::new());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        match values.value(field, column, row) {
            Ok(value) if value.is_null() => {}
            Ok(value) => {
                fields.insert(field.name().clone(), value);
            }
            Err(message) => bad.push(BadValue {
                message: shown(field.name(), &message),
                column: field.name().clone(),
            }),
        }
    }
    Record { number, fields, bad }
}

/// The same columns with strings as views, so that a long dictionary entry used by every row is in memory once.
fn with_views(metadata: ArrowReaderMetadata) -> ArrowReaderMetadata {
    let schema = metadata.schema();
    let fields: Vec<_> = schema.fields().iter().map(viewed).collect();
    let views = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(views));
    let with_views = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options);
    with_views.unwrap_or(metadata)
}

fn viewed(field: &FieldRef) -> FieldRef {
    let data_type = viewed_type(field.data_type());
    Arc::new(Field::clone(field).with_data_type(data_type))
}

fn viewed_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, values) => viewed_type(values),
        DataType::List(item) => DataType::List(viewed(item)),
        DataType::LargeList(item) => DataType::LargeList(viewed(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(viewed(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(viewed).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(viewed(entries), *is_sorted),
        other => other.clone(),
    }
}

impl Iterator for Parquet {
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
