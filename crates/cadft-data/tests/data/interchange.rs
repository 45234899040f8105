//! Files written by pandas, pyarrow and `datasets` (`python/data_formats.py`) are read with their intended meaning.

use std::fs;
use std::path::{Path, PathBuf};

use cadft_data::{Columns, Content, Row, Source};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data-formats")
}

fn expected(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    let mut rows: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(rows[name].take()).unwrap()
}

fn read(source: &Source) -> Vec<Row> {
    source.rows().unwrap().collect::<Result<_, _>>().unwrap()
}

/// A row in the generator's notation. A turn with tool calls has `content: null` in some files, and no content in
/// others.
fn shown(row: &Row) -> Value {
    let Content::Messages { messages, tools, .. } = &row.content else {
        panic!("{row:?}");
    };
    let turns = messages.iter().map(|message| {
        let mut fields = message.fields().clone();
        fields.retain(|_, value| !value.is_null());
        Value::Object(fields)
    });
    let mut record = json!({"messages": turns.collect::<Vec<_>>()});
    if !tools.is_empty() {
        record["tools"] = json!(tools);
    }
    record
}

fn assert_equal(file: &str, source: &Source, name: &str) {
    let (rows, expected) = (read(source), expected(name));
    assert_eq!(rows.len(), expected.len(), "{file}");
    for (row, mut expected) in rows.iter().zip(expected) {
        let fields = expected.as_object_mut().unwrap();
        if let Some(id) = fields.remove("id") {
            assert_eq!(row.id, id, "{file}");
        }
        if let Some(weight) = fields.remove("weight") {
            assert_eq!(row.weight, weight.as_f64().unwrap(), "{file}");
        }
        assert_eq!(shown(row), expected, "{file}");
    }
}

#[test]
fn files_of_pandas_pyarrow_and_datasets_hold_the_same_rows() {
    let mut files = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let name = file.split_once('.').unwrap().0;
        let source = Source::new(path.display().to_string());
        match name {
            "messages" | "alpaca" => assert_equal(&file, &source, name),
            "qa" => {
                let columns = Columns::parse(["instruction=question", "output=answer", "id=level"]).unwrap();
                assert_equal(&file, &Source { columns, ..source }, name);
            }
            _ => continue,
        }
        files += 1;
    }
    assert_eq!(files, 11);
}
