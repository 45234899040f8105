//! Parquet, one batch of rows at a time. Nested lists and structs become JSON; what is null is left out.

use std::vec;

use arrow_array::RecordBatch;
use arrow_json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use serde_json::{Map, Value};

use super::caught::caught;
use super::{Fault, Record};
use crate::error::Place;

/// Rows decoded at once: a row can be long.
const BATCH: usize = 256;

/// The rows of a Parquet file.
pub(super) struct Parquet {
    reader: ParquetRecordBatchReader,
    /// Columns that are not read; they appear as null, so that messages can name them.
    others: Vec<String>,
    rows: vec::IntoIter<Map<String, Value>>,
    number: usize,
    has_ended: bool,
}

impl Parquet {
    /// Opens a file, to read of it the columns that `is_wanted` names.
    pub(super) fn new(
        input: impl ChunkReader + 'static,
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        caught(|| Self::open(input, is_wanted)).unwrap_or_else(|message| Err(unreadable(&message)))
    }

    fn open(input: impl ChunkReader + 'static, is_wanted: &dyn Fn(&str) -> bool) -> Result<Self, Fault> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(input)
            .map_err(|error| unreadable(&error.to_string()))?;
        let (mut wanted, mut others) = (Vec::new(), Vec::new());
        for (index, field) in builder.schema().fields().iter().enumerate() {
            if is_wanted(field.name()) {
                wanted.push(index);
            } else {
                others.push(field.name().clone());
            }
        }
        if wanted.is_empty() {
            let others: Vec<_> = others.iter().map(|name| format!("`{name}`")).collect();
            return Err(Fault::new(
                Place::File,
                format!("no column is one that is read: found {}", others.join(", ")),
            ));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH)
            .build()
            .map_err(|error| unreadable(&error.to_string()))?;
        Ok(Self {
            reader,
            others,
            rows: Vec::new().into_iter(),
            number: 0,
            has_ended: false,
        })
    }

    /// Decodes the next batch; false at the end of the file.
    fn read_batch(&mut self) -> Result<bool, String> {
        let reader = &mut self.reader;
        let batch = caught(|| match reader.next() {
            None => Ok(None),
            Some(batch) => rows(&batch.map_err(|error| error.to_string())?).map(Some),
        })??;
        Ok(match batch {
            None => false,
            Some(rows) => {
                self.rows = rows.into_iter();
                true
            }
        })
    }
}

fn unreadable(message: &str) -> Fault {
    Fault::new(Place::File, format!("this is no readable Parquet: {message}"))
}

/// The rows of a batch as JSON objects.
fn rows(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer
        .write(batch)
        .and_then(|()| writer.finish())
        .map_err(|error| error.to_string())?;
    let json = writer.into_inner();
    serde_json::Deserializer::from_slice(&json)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

impl Iterator for Parquet {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended {
            if let Some(mut fields) = self.rows.next() {
                self.number += 1;
                fields.extend(self.others.iter().map(|name| (name.clone(), Value::Null)));
                return Some(Ok(Record {
                    number: self.number,
                    fields,
                }));
            }
            match self.read_batch() {
                Ok(true) => {}
                Ok(false) => self.has_ended = true,
                Err(message) => {
                    self.has_ended = true;
                    let message = format!("the rows from here on cannot be read: {message}");
                    return Some(Err(Fault::new(Place::Row(self.number + 1), message)));
                }
            }
        }
        None
    }
}
