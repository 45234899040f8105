//! Parquet files of rows. Lists of turns are lists of structs. Values without a fixed shape are JSON (Parquet's logical
//! type), which reads back unchanged.

use std::fs::File;
use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use arrow_schema::extension::Json;
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

/// An error of writing a file.
pub(super) type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Number of rows that are encoded together.
const BATCH: usize = 1024;

/// Columns with lists of turns.
const TURNS: [&str; 4] = ["messages", "conversations", "prompt", "completion"];

/// The columns of all records, in the order of their first appearance.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema {
    columns: Vec<(String, Type)>,
}

/// The type of a column or of a turn's field.
#[derive(Debug, Clone, PartialEq)]
enum Type {
    Text,
    Integer,
    Float,
    Flag,
    Turns(Vec<(String, Type)>),
    /// Anything else, stored as JSON text.
    Any,
}

impl Schema {
    /// Adds the columns of a record.
    pub(super) fn add(&mut self, record: &Map<String, Value>) {
        for (key, value) in record {
            merge(&mut self.columns, key, Type::of(key, value));
        }
    }

    pub(super) fn columns(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// Adds a field, or widens the type of an existing one.
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
        (old, new) if *old != new => *old = Type::Any,
        _ => {}
    }
}

impl Type {
    fn of(key: &str, value: &Value) -> Self {
        match value {
            Value::String(_) => Self::Text,
            Value::Bool(_) => Self::Flag,
            Value::Number(number) if number.is_i64() => Self::Integer,
            Value::Number(number) if number.is_f64() => Self::Float,
            Value::Array(turns) if TURNS.contains(&key) => {
                let mut fields = Vec::new();
                for (key, value) in turns.iter().filter_map(Value::as_object).flatten() {
                    merge(&mut fields, key, Self::of("", value));
                }
                if fields.is_empty() {
                    Self::Any
                } else {
                    Self::Turns(fields)
                }
            }
            _ => Self::Any,
        }
    }

    fn field(&self, name: &str) -> Field {
        let field = |data_type| Field::new(name, data_type, true);
        match self {
            Self::Text => field(DataType::Utf8),
            Self::Integer => field(DataType::Int64),
            Self::Float => field(DataType::Float64),
            Self::Flag => field(DataType::Boolean),
            Self::Turns(turn) => {
                let turn = DataType::Struct(turn.iter().map(|(name, of)| of.field(name)).collect());
                field(DataType::List(Arc::new(Field::new("item", turn, true))))
            }
            Self::Any => field(DataType::Utf8).with_extension_type(Json::default()),
        }
    }

    /// Converts a value to the form that the column stores.
    fn written(&self, value: &mut Value) {
        match self {
            Self::Any => *value = Value::String(value.to_string()),
            Self::Turns(fields) => {
                let turns = value.as_array_mut().into_iter().flatten();
                turns
                    .filter_map(Value::as_object_mut)
                    .for_each(|turn| written(fields, turn));
            }
            _ => {}
        }
    }
}

fn written(columns: &[(String, Type)], record: &mut Map<String, Value>) {
    for (name, of) in columns {
        if let Some(value) = record.get_mut(name) {
            of.written(value);
        }
    }
}

/// A Parquet file under construction.
pub(super) struct Parquet {
    decoder: Decoder,
    writer: ArrowWriter<File>,
    schema: Schema,
    rows: Vec<Map<String, Value>>,
}

impl Parquet {
    pub(super) fn new(file: File, schema: &Schema) -> Result<Self, Problem> {
        let columns: Vec<_> = schema.columns.iter().map(|(name, of)| of.field(name)).collect();
        let arrow = Arc::new(ArrowSchema::new(columns));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        Ok(Self {
            decoder: ReaderBuilder::new(Arc::clone(&arrow))
                .with_batch_size(BATCH)
                .build_decoder()?,
            writer: ArrowWriter::try_new(file, arrow, Some(properties))?,
            schema: schema.clone(),
            rows: Vec::with_capacity(BATCH),
        })
    }

    pub(super) fn write(&mut self, mut record: Map<String, Value>) -> Result<(), Problem> {
        written(&self.schema.columns, &mut record);
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
