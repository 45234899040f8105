//! Parquet files of values with parts: each value is shredded into columns of scalars with two levels, as Dremel does.
//!
//! S. Melnik et al., *Dremel: Interactive Analysis of Web-Scale Datasets*, VLDB 2010, section 4.2; as Parquet has it,
//! <https://parquet.apache.org/docs/file-format/nestedencoding/>, with lists as in
//! <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#lists>.
//!
//! Everything is optional. A struct or scalar adds one to the definition level where it is not null, a list one more
//! where it has items. The repetition level of a value is 0 where a row begins, and otherwise the depth of the innermost
//! list of which it begins an item other than the first.

mod arrow;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

use crate::shown::short;

/// Largest number of rows of a group, and the number of bytes at which a group is written.
const GROUP_ROWS: usize = 1 << 20;
const GROUP_BYTES: usize = 64 << 20;

/// What the values of a column, or of a part, are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    /// Any value, as JSON text.
    Json,
    Integer,
    Float,
    Flag,
    /// Nothing but nulls.
    Null,
    List(Box<Shape>),
    /// At least one field.
    Struct(Vec<(String, Shape)>),
}

impl Shape {
    /// Parquet's type for it.
    fn parquet(&self, name: &str) -> Result<Type, ParquetError> {
        let scalar = |physical, logical| {
            Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical)
                .build()
        };
        let group = |fields, logical| {
            Type::group_type_builder(name)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical)
                .with_fields(fields)
                .build()
        };
        match self {
            Self::Text => scalar(Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Self::Json => scalar(Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Self::Integer => scalar(Physical::INT64, None),
            Self::Float => scalar(Physical::DOUBLE, None),
            Self::Flag => scalar(Physical::BOOLEAN, None),
            Self::Null => scalar(Physical::INT32, Some(LogicalType::Unknown)),
            Self::Struct(fields) => group(types(fields)?, None),
            Self::List(item) => {
                let repeated = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![Arc::new(item.parquet("item")?)])
                    .build()?;
                group(vec![Arc::new(repeated)], Some(LogicalType::List))
            }
        }
    }

    /// An empty column for each scalar, in the order of Parquet's schema.
    fn columns(&self, columns: &mut Vec<Column>) {
        let values = match self {
            Self::Text | Self::Json => Cells::Bytes(Vec::new()),
            Self::Integer => Cells::Integer(Vec::new()),
            Self::Float => Cells::Float(Vec::new()),
            Self::Flag => Cells::Flag(Vec::new()),
            Self::Null => Cells::Null,
            Self::List(item) => return item.columns(columns),
            Self::Struct(fields) => return fields.iter().for_each(|(_, of)| of.columns(columns)),
        };
        columns.push(Column {
            values,
            definitions: Vec::new(),
            repetitions: Vec::new(),
            bytes: 0,
        });
    }

    fn width(&self) -> usize {
        match self {
            Self::List(item) => item.width(),
            Self::Struct(fields) => fields.iter().map(|(_, of)| of.width()).sum(),
            _ => 1,
        }
    }
}

fn types(fields: &[(String, Shape)]) -> Result<Vec<TypePtr>, ParquetError> {
    fields
        .iter()
        .map(|(name, of)| of.parquet(name).map(Arc::new))
        .collect()
}

/// The values of a column for some rows. There is a pair of levels for every value and for everything that is null or
/// empty, and a value only for pairs with the largest definition level.
struct Column {
    values: Cells,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    /// About how many bytes are in memory.
    bytes: usize,
}

enum Cells {
    Bytes(Vec<ByteArray>),
    Integer(Vec<i64>),
    Float(Vec<f64>),
    Flag(Vec<bool>),
    Null,
}

fn wrong(value: &Value) -> String {
    format!("{} is none of its column's values", short(&value.to_string()))
}

/// The levels at a place in a row.
#[derive(Clone, Copy)]
struct Levels {
    definition: i16,
    /// What the next value has: 0 or the list that continues.
    repetition: i16,
    /// Number of lists around it.
    depth: i16,
}

impl Levels {
    fn inside(self) -> Self {
        Self {
            definition: self.definition + 1,
            ..self
        }
    }
}

/// Appends a value of a shape to its columns; `None` is null.
fn shred(shape: &Shape, value: Option<Value>, levels: Levels, columns: &mut [Column]) -> Result<(), String> {
    let value = match (shape, value) {
        (Shape::Json, Some(value)) => value,
        (_, None | Some(Value::Null)) => {
            columns.iter_mut().for_each(|column| column.nothing(levels));
            return Ok(());
        }
        (_, Some(value)) => value,
    };
    match (shape, value) {
        (Shape::List(item), Value::Array(items)) => {
            let mut levels = levels.inside();
            levels.depth += 1;
            if items.is_empty() {
                columns.iter_mut().for_each(|column| column.nothing(levels));
            }
            for value in items {
                shred(item, Some(value), levels.inside(), columns)?;
                levels.repetition = levels.depth;
            }
            Ok(())
        }
        (Shape::Struct(fields), Value::Object(mut object)) => {
            let mut rest = columns;
            for (name, of) in fields {
                let (own, others) = rest.split_at_mut(of.width());
                shred(of, object.remove(name), levels.inside(), own)?;
                rest = others;
            }
            match object.keys().next() {
                Some(key) => Err(format!("`{key}` is no field of its column")),
                None => Ok(()),
            }
        }
        (Shape::List(_) | Shape::Struct(_), value) => Err(wrong(&value)),
        (shape, value) => match columns {
            [column] => column.push(shape, value, levels.inside()),
            _ => Err(wrong(&value)),
        },
    }
}

impl Column {
    fn nothing(&mut self, levels: Levels) {
        self.definitions.push(levels.definition);
        self.repetitions.push(levels.repetition);
        self.bytes += 2 * size_of::<i16>();
    }

    fn push(&mut self, shape: &Shape, value: Value, levels: Levels) -> Result<(), String> {
        match (&mut self.values, shape, value) {
            (Cells::Bytes(cells), Shape::Json, value) => {
                let text = value.to_string();
                self.bytes += text.len() + size_of::<ByteArray>();
                cells.push(ByteArray::from(text.into_bytes()));
            }
            (Cells::Bytes(cells), _, Value::String(text)) => {
                self.bytes += text.len() + size_of::<ByteArray>();
                cells.push(ByteArray::from(text.into_bytes()));
            }
            (Cells::Integer(cells), _, value) => cells.push(value.as_i64().ok_or_else(|| wrong(&value))?),
            (Cells::Float(cells), _, value) => cells.push(value.as_f64().ok_or_else(|| wrong(&value))?),
            (Cells::Flag(cells), _, Value::Bool(value)) => cells.push(value),
            (_, _, value) => return Err(wrong(&value)),
        }
        self.bytes += size_of::<u64>();
        self.nothing(levels);
        Ok(())
    }

    /// Writes the column, and removes what it holds.
    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let (definitions, repetitions) = (Some(&self.definitions[..]), Some(&self.repetitions[..]));
        match (&mut self.values, writer) {
            (Cells::Bytes(cells), ColumnWriter::ByteArrayColumnWriter(writer)) => {
                writer.write_batch(cells, definitions, repetitions)?;
                cells.clear();
            }
            (Cells::Integer(cells), ColumnWriter::Int64ColumnWriter(writer)) => {
                writer.write_batch(cells, definitions, repetitions)?;
                cells.clear();
            }
            (Cells::Float(cells), ColumnWriter::DoubleColumnWriter(writer)) => {
                writer.write_batch(cells, definitions, repetitions)?;
                cells.clear();
            }
            (Cells::Flag(cells), ColumnWriter::BoolColumnWriter(writer)) => {
                writer.write_batch(cells, definitions, repetitions)?;
                cells.clear();
            }
            (Cells::Null, ColumnWriter::Int32ColumnWriter(writer)) => {
                writer.write_batch(&[], definitions, repetitions)?;
            }
            _ => return Err(ParquetError::General("a column of another type".to_owned())),
        }
        self.definitions.clear();
        self.repetitions.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// A Parquet file under construction.
pub(crate) struct Shredded<W: Write + Send = File> {
    fields: Vec<(String, Shape)>,
    columns: Vec<Column>,
    rows: usize,
    writer: SerializedFileWriter<W>,
}

impl<W: Write + Send> Shredded<W> {
    /// A file with these columns.
    pub(crate) fn new(
        file: W,
        fields: Vec<(String, Shape)>,
        properties: WriterProperties,
    ) -> Result<Self, ParquetError> {
        let schema = Type::group_type_builder("arrow_schema").with_fields(types(&fields)?);
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema.build()?), Arc::new(properties))?;
        writer.append_key_value_metadata(arrow::schema(&fields));
        let mut columns = Vec::new();
        fields.iter().for_each(|(_, of)| of.columns(&mut columns));
        Ok(Self {
            fields,
            columns,
            rows: 0,
            writer,
        })
    }

    /// Adds a row. Keys that it does not have are null.
    pub(crate) fn write(&mut self, mut row: Map<String, Value>) -> Result<(), ParquetError> {
        let levels = Levels {
            definition: 0,
            repetition: 0,
            depth: 0,
        };
        let mut rest = &mut self.columns[..];
        for (name, of) in &self.fields {
            let (own, others) = rest.split_at_mut(of.width());
            shred(of, row.remove(name), levels, own)
                .map_err(|message| ParquetError::General(format!("column `{name}`: {message}")))?;
            rest = others;
        }
        self.rows += 1;
        let bytes: usize = self.columns.iter().map(|column| column.bytes).sum();
        if self.rows >= GROUP_ROWS || bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            if let Some(mut writer) = group.next_column()? {
                column.write(writer.untyped())?;
                writer.close()?;
            }
        }
        group.close()?;
        Ok(())
    }

    /// Completes the file.
    pub(crate) fn finish(mut self) -> Result<(), ParquetError> {
        self.flush()?;
        self.writer.close()?;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
