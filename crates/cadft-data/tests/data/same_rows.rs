//! A row has the same meaning in every kind of file (`python/data_files.py`), and unsupported values are refused by
//! name.

use std::fs;
use std::path::{Path, PathBuf};

use cadft_data::{Content, DataError, Dataset, Mask, Row, TokenizeOptions, read_file, tokenize};
use serde_json::json;

use crate::fixture::Fixture;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data-files")
}

fn files(start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start))
        .collect();
    files.sort();
    files
}

/// Everything about a row except its place. It is a text, because templates see the order of keys.
fn shown(row: &Row) -> String {
    let Content::Messages { messages, tools, .. } = &row.content else {
        panic!("{row:?}");
    };
    json!([
        row.id,
        row.weight,
        row.answer,
        messages,
        tools,
        row.content.fingerprint()
    ])
    .to_string()
}

/// Tokens and masks, without the origin.
fn learned(dataset: &Dataset) -> Vec<(&[u32], &[bool])> {
    let examples = dataset.examples.iter();
    examples
        .map(|example| (&*example.token_ids, &*example.loss_mask))
        .collect()
}

#[test]
fn a_row_is_the_same_in_every_file() {
    // A template that shows all of its inputs.
    let template = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}\
        {{ (message | tojson) if message.role != 'assistant' }}{{ message.content }}{{ message.tool_calls | default([]) | tojson }}\
        {{ '<|im_end|>\n' }}{% endfor %}{{ tools | default([]) | tojson }}";
    let tokenizer = Fixture::new("<|im_end|>", template).build();
    let options = TokenizeOptions::new(usize::MAX, Mask::Assistant);
    for (name, count) in [("plain", 19), ("calls", 8)] {
        let expected = read_file(&folder().join(format!("{name}.jsonl"))).unwrap();
        let dataset = tokenize(&expected, &tokenizer, &options).unwrap();
        let files = files(&format!("{name}."));
        assert_eq!(files.len(), count);
        for file in files {
            let rows = read_file(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let (rows_shown, expected_shown): (Vec<_>, Vec<_>) = (
                rows.iter().map(shown).collect(),
                expected.iter().map(shown).collect(),
            );
            assert_eq!(rows_shown, expected_shown, "{}", file.display());
            let found = tokenize(&rows, &tokenizer, &options).unwrap();
            assert_eq!(learned(&found), learned(&dataset), "{}", file.display());
        }
    }
}

#[test]
fn a_value_that_no_row_can_have_is_named_with_its_column_and_row() {
    let cases = [
        "bytes: row 2: `text`: bytes that are no UTF-8 text, at byte 1",
        "date: row 1: `weight`: expected a number, found a string",
        "decimal: row 2: `id`: the number 1180591620717411303424 is beyond 64 bits",
        "infinity: row 2: `weight`: expected a finite number, found `inf`",
        "json: row 2: `messages`: no JSON: EOF while parsing",
        "map: column `tools` is a map whose keys are no strings",
        "page: row 1: the rows from here on cannot be read: the pages of a few rows unpack to more than 384 MiB",
        "rows: row 256: the rows from here on cannot be read: it unpacks to more than 200 times its size",
        "values: row 1: the rows from here on cannot be read: a group of rows has a column of more than 33554432 values",
        "nan: row 2: `weight`: expected a finite number, found `NaN`",
        "nested-infinity: row 2: `messages[1].score`: expected a finite number, found `inf`",
    ];
    assert_eq!(files("refused-").len(), cases.len());
    for case in cases {
        let (name, message) = case.split_once(": ").unwrap();
        let path = folder().join(format!("refused-{name}.parquet"));
        let Err(DataError::Invalid { problems, .. }) = read_file(&path) else {
            panic!("{name} is read");
        };
        let start = format!("{}: {message}", path.display());
        let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            found.iter().any(|found| found.starts_with(&start)),
            "{name}: {found:?}"
        );
    }
}
