//! Writes flat records as a Parquet file, for the tables of this project.

use std::path::Path;

use cadft_files::NewFile;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

use crate::error::DataError;
use crate::shredded::{Shape, Shredded};

/// Writes objects with strings, numbers and booleans as a Parquet file. Each key is a column, in the order of the first
/// object; an absent key is null. The file is written under a temporary name and renamed.
///
/// # Errors
/// [`DataError::Write`] for errors of the file system, and for values that no column can store.
pub fn write_parquet(path: &Path, records: &[Value]) -> Result<(), DataError> {
    let written = NewFile::create(path)
        .map_err(ParquetError::from)
        .and_then(|file| {
            write(&file.handle()?, records)?;
            Ok(file.finish()?)
        });
    written.map_err(|source| DataError::Write {
        path: path.to_owned(),
        source: source.into(),
    })
}

fn write(file: &std::fs::File, records: &[Value]) -> Result<(), ParquetError> {
    let objects: Vec<_> = records.iter().map(object).collect::<Result<_, _>>()?;
    let mut table = Shredded::new(file, columns(&objects)?, WriterProperties::default())?;
    for object in objects {
        table.write(object.clone())?;
    }
    table.finish()
}

fn object(record: &Value) -> Result<&Map<String, Value>, ParquetError> {
    let object = record.as_object();
    object.ok_or_else(|| ParquetError::General(format!("{record} is no object")))
}

/// The columns: those of the first object in its order, then all others in the order of their names.
fn columns(records: &[&Map<String, Value>]) -> Result<Vec<(String, Shape)>, ParquetError> {
    let mut shapes: Vec<(String, Shape)> = Vec::new();
    for record in records {
        for (key, value) in *record {
            let place = shapes
                .iter()
                .position(|(name, _)| name == key)
                .unwrap_or(shapes.len());
            if place == shapes.len() {
                shapes.push((key.clone(), Shape::Null));
            }
            let shape = &mut shapes[place].1;
            *shape = merged(shape, value)
                .ok_or_else(|| ParquetError::General(format!("column `{key}` cannot store {value}")))?;
        }
    }
    let first = records.first().map_or(0, |record| record.len());
    shapes[first..].sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(shapes)
}

/// The shape of a column with one more value; `None` if it has values of another kind.
fn merged(shape: &Shape, value: &Value) -> Option<Shape> {
    let new = match value {
        Value::Null => return Some(shape.clone()),
        Value::String(_) => Shape::Text,
        Value::Bool(_) => Shape::Flag,
        Value::Number(number) if number.is_i64() => Shape::Integer,
        Value::Number(_) => Shape::Float,
        Value::Array(_) | Value::Object(_) => return None,
    };
    match (shape, new) {
        (Shape::Null, new) => Some(new),
        (Shape::Integer | Shape::Float, Shape::Float) | (Shape::Float, Shape::Integer) => Some(Shape::Float),
        (old, new) => (*old == new).then_some(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    use serde_json::json;

    #[test]
    fn records_come_back_in_order_with_their_types() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scores.parquet");
        let records: Vec<Value> = (0..5000)
            .map(|number| json!({"id": format!("row-{number}"), "tokens": number, "z": f64::from(number) / 7.0}))
            .chain([json!({"id": "last", "tokens": 1, "z": null})])
            .collect();
        write_parquet(&path, &records).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 5001);
        assert_eq!(rows[4999].get_string(0).unwrap(), "row-4999");
        assert_eq!(rows[4999].get_long(1).unwrap(), 4999);
        assert_eq!(rows[4999].get_double(2).unwrap(), 4999.0 / 7.0);
        assert!(rows[5000].get_double(2).is_err(), "null");
        let columns: Vec<_> = reader
            .metadata()
            .file_metadata()
            .schema()
            .get_fields()
            .iter()
            .map(|field| field.name())
            .collect();
        assert_eq!(columns, ["id", "tokens", "z"]);
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            1,
            "temporary files are left"
        );
    }
}
