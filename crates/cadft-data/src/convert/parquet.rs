//! Parquet files of rows: lists of turns as lists of structs; `tools` and `tool_calls`, whose shape varies from row to
//! row, as JSON text.

use std::fs::File;
use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use arrow_schema::{DataType, Field, Fields, Schema as ArrowSchema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

use super::output::Problem;
use crate::format::kind;

/// Rows that are encoded at once.
const BATCH: usize = 1024;

/// The columns of all records, in the order of their first appearance.
#[derive(Default)]
pub(super) struct Schema {
    columns: Vec<(String, Type)>,
}

/// The type of a column or of a turn's field.
#[derive(Clone, PartialEq)]
enum Type {
    Text,
    Number,
    Flag,
    Turns(Vec<(String, Type)>),
    Texts,
    /// Anything else, which only files without a schema hold.
    Any(&'static str),
}

impl Schema {
    /// Adds the columns of a record.
    pub(super) fn add(&mut self, record: &Map<String, Value>) {
        for (key, value) in record {
            merge(&mut self.columns, key, Type::of(value));
        }
    }

    pub(super) fn columns(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    fn arrow(&self) -> Result<ArrowSchema, String> {
        Ok(ArrowSchema::new(fields(&self.columns)?))
    }
}

/// Adds a field, or widens the one that is there.
fn merge(fields: &mut Vec<(String, Type)>, key: &str, new: Type) {
    let Some((_, old)) = fields.iter_mut().find(|(name, _)| name == key) else {
        fields.push((key.to_owned(), new));
        return;
    };
    match (old, new) {
        (Type::Turns(old), Type::Turns(new)) => {
            for (key, new) in new {
                merge(old, &key, new);
            }
        }
        (old, new) if *old != new => *old = Type::Any("values of several types"),
        _ => {}
    }
}

impl Type {
    fn of(value: &Value) -> Self {
        match value {
            Value::String(_) => Self::Text,
            Value::Number(_) => Self::Number,
            Value::Bool(_) => Self::Flag,
            Value::Array(values) if values.iter().all(Value::is_object) => {
                let mut fields = Vec::new();
                for (key, value) in values.iter().filter_map(Value::as_object).flatten() {
                    if !value.is_null() {
                        merge(&mut fields, key, Self::of(value));
                    }
                }
                Self::Turns(fields)
            }
            Value::Array(values) if values.iter().all(Self::is_texts) => Self::Texts,
            other => Self::Any(kind(other)),
        }
    }

    /// Whether a value is a pair of Alpaca's history.
    fn is_texts(value: &Value) -> bool {
        value
            .as_array()
            .is_some_and(|values| values.iter().all(Value::is_string))
    }

    fn arrow(&self, key: &str) -> Result<DataType, String> {
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        Ok(match self {
            Self::Text => DataType::Utf8,
            Self::Number => DataType::Float64,
            Self::Flag => DataType::Boolean,
            Self::Texts => list(list(DataType::Utf8)),
            Self::Turns(turn) => list(DataType::Struct(fields(turn)?)),
            Self::Any(found) => return Err(format!("`{key}` holds {found}, which a Parquet column cannot")),
        })
    }
}

fn fields(columns: &[(String, Type)]) -> Result<Fields, String> {
    columns
        .iter()
        .map(|(name, of)| Ok(Field::new(name, of.arrow(name)?, true)))
        .collect()
}

/// Writes what has no fixed shape as JSON text.
pub(super) fn flatten(record: &mut Map<String, Value>) {
    let as_text = |value: &mut Value| *value = Value::String(value.to_string());
    if let Some(tools) = record.get_mut("tools") {
        as_text(tools);
    }
    let turns = ["messages", "conversations", "prompt", "completion"];
    for (_, value) in record.iter_mut().filter(|(key, _)| turns.contains(&key.as_str())) {
        let turns = value.as_array_mut().into_iter().flatten();
        for calls in turns.filter_map(|turn| turn.get_mut("tool_calls")) {
            as_text(calls);
        }
    }
}

/// A Parquet file that is being written.
pub(super) struct Parquet {
    decoder: Decoder,
    writer: ArrowWriter<File>,
    rows: Vec<Map<String, Value>>,
}

impl Parquet {
    pub(super) fn new(file: File, schema: &Schema) -> Result<Self, Problem> {
        let schema = Arc::new(schema.arrow()?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        Ok(Self {
            decoder: ReaderBuilder::new(Arc::clone(&schema))
                .with_batch_size(BATCH)
                .build_decoder()?,
            writer: ArrowWriter::try_new(file, schema, Some(properties))?,
            rows: Vec::with_capacity(BATCH),
        })
    }

    pub(super) fn write(&mut self, record: Map<String, Value>) -> Result<(), Problem> {
        self.rows.push(record);
        if self.rows.len() == BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Problem> {
        self.decoder.serialize(&self.rows)?;
        self.rows.clear();
        if let Some(batch) = self.decoder.flush()? {
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Problem> {
        self.flush()?;
        self.writer.close()?;
        Ok(())
    }
}
