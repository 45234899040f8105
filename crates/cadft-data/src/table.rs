//! Writes flat records as a Parquet file, for the tables of this project.

use std::path::Path;
use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_json::reader::infer_json_schema_from_iterator;
use arrow_schema::{ArrowError, Schema};
use cadft_files::NewFile;
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use crate::error::DataError;

/// Number of records that are encoded together.
const BATCH: usize = 4096;

/// Writes objects with strings, numbers and booleans as a Parquet file. Each key is a column, in the order of the first
/// object; an absent key is null. The file is written under a temporary name and renamed.
///
/// # Errors
/// [`DataError::Write`] for errors of the file system, and for values that no column can store.
pub fn write_parquet(path: &Path, records: &[Value]) -> Result<(), DataError> {
    let written = NewFile::create(path).map_err(ArrowError::from).and_then(|file| {
        write(&file.handle()?, records)?;
        Ok(file.finish()?)
    });
    written.map_err(|source| DataError::Write {
        path: path.to_owned(),
        source: source.into(),
    })
}

fn write(file: &std::fs::File, records: &[Value]) -> Result<(), ArrowError> {
    let schema = Arc::new(schema(records)?);
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema))
        .with_batch_size(BATCH)
        .build_decoder()?;
    let mut writer = ArrowWriter::try_new(file, schema, None)?;
    for records in records.chunks(BATCH) {
        decoder.serialize(records)?;
        if let Some(batch) = decoder.flush()? {
            writer.write(&batch)?;
        }
    }
    writer.close()?;
    Ok(())
}

/// The columns, in the order of the keys.
fn schema(records: &[Value]) -> Result<Schema, ArrowError> {
    let inferred = infer_json_schema_from_iterator(records.iter().map(Ok::<_, ArrowError>))?;
    let first = records.first().and_then(Value::as_object);
    let place = |name: &str| {
        first
            .and_then(|keys| keys.keys().position(|key| key == name))
            .unwrap_or(usize::MAX)
    };
    let mut fields: Vec<_> = inferred.fields().iter().cloned().collect();
    fields.sort_by(|a, b| place(a.name()).cmp(&place(b.name())).then(a.name().cmp(b.name())));
    Ok(Schema::new(fields))
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
