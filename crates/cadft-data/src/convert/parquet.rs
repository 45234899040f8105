//! Parquet files of rows. Lists of turns are lists of structs. Values without a fixed shape are JSON (Parquet's logical
//! type), which reads back unchanged.

use std::fs::File;

use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

use crate::shredded::{Shape, Shredded};

/// An error of writing a file.
pub(super) type Problem = Box<dyn std::error::Error + Send + Sync>;

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

    fn shape(&self) -> Shape {
        match self {
            Self::Text => Shape::Text,
            Self::Integer => Shape::Integer,
            Self::Float => Shape::Float,
            Self::Flag => Shape::Flag,
            Self::Turns(turn) => Shape::List(Box::new(Shape::Struct(shapes(turn)))),
            Self::Any => Shape::Json,
        }
    }
}

fn shapes(fields: &[(String, Type)]) -> Vec<(String, Shape)> {
    fields
        .iter()
        .map(|(name, of)| (name.clone(), of.shape()))
        .collect()
}

/// A Parquet file under construction.
pub(super) struct Parquet(Shredded);

impl Parquet {
    pub(super) fn new(file: File, schema: &Schema) -> Result<Self, Problem> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        Ok(Self(Shredded::new(file, shapes(&schema.columns), properties)?))
    }

    pub(super) fn write(&mut self, record: Map<String, Value>) -> Result<(), Problem> {
        Ok(self.0.write(record)?)
    }

    pub(super) fn finish(self) -> Result<(), Problem> {
        Ok(self.0.finish()?)
    }
}
