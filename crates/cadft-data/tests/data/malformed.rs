//! Every kind of malformed file has one message with its place, and only the malformed part is lost.

mod records;

use std::fs;
use std::io::Write;
use std::path::Path;

use cadft_data::{Place, Problem, Row, Source};
use flate2::Compression;
use flate2::write::GzEncoder;

use records::RECORDS;

/// Reads a file with this name and content; returns its rows and problems.
fn read(name: &str, bytes: &[u8]) -> (Vec<Row>, Vec<Problem>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for item in Source::new(path.display().to_string()).rows().unwrap() {
        match item {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
    }
    for problem in &mut problems {
        let path = Path::new(&problem.path);
        problem.path = path.strip_prefix(&directory).unwrap().display().to_string();
    }
    (rows, problems)
}

/// Asserts that there is one problem with this place and message, and `good` rows.
fn assert_one(name: &str, bytes: &[u8], good: usize, place: Place, message: &str) {
    let (rows, problems) = read(name, bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    let [problem] = problems.as_slice() else {
        panic!("{name}: {shown}\n{problems:#?}");
    };
    assert_eq!(
        (problem.path.as_str(), problem.place),
        (name, place),
        "{shown}\n{problem}"
    );
    assert!(
        problem.message.contains(message),
        "{shown}\n{problem}\nlacks: {message}"
    );
    assert_eq!(rows.len(), good, "{shown}");
}

const GOOD: &str = r#"{"text": "good"}"#;

#[test]
fn each_malformed_line_has_one_message() {
    for (line, message) in RECORDS {
        let text = format!("{GOOD}\n{line}\n{GOOD}\n");
        assert_one("d.jsonl", text.as_bytes(), 2, Place::Line(2), message);
    }
}

#[test]
fn each_malformed_element_of_a_list_has_one_message() {
    // Elements with unclosed brackets or quotes swallow the following text; they are tested below.
    let balanced = |line: &str| !matches!(line, "{" | r#"{"text": "a""#);
    for (element, message) in RECORDS.into_iter().filter(|(line, _)| balanced(line)) {
        let text = format!("[\n{GOOD},\n{element},\n{GOOD}\n]\n");
        assert_one("d.json", text.as_bytes(), 2, Place::Line(3), message);
    }
}

#[test]
fn text_that_is_no_text_is_named_with_its_byte() {
    let line = |bytes: &[u8]| [GOOD.as_bytes(), b"\n", bytes, b"\n", GOOD.as_bytes()].concat();
    let cases: [(&str, Vec<u8>, usize, Place, &str); 5] = [
        (
            "d.jsonl",
            line(b"{\"text\": \"a\xFF\"}"),
            2,
            Place::Line(2),
            "invalid UTF-8 at byte 12",
        ),
        (
            "d.jsonl",
            line(b"{\"text\": \"\xED\xA0\x80\"}"),
            2,
            Place::Line(2),
            "invalid UTF-8 at byte 11",
        ),
        (
            "d.jsonl",
            line(b"\0\0\0"),
            2,
            Place::Line(2),
            "invalid JSON at column 1",
        ),
        ("d.jsonl", b"\xFF\xFE{\0\"\0".to_vec(), 0, Place::File, "UTF-16"),
        (
            "d.csv",
            b"text\ngood\na\xFFb\ngood\n".to_vec(),
            2,
            Place::Line(3),
            "invalid UTF-8 in value 1, at its byte 2",
        ),
    ];
    for (name, bytes, good, place, message) in cases {
        assert_one(name, &bytes, good, place, message);
    }
}

#[test]
fn files_without_rows_are_named() {
    let empty = [
        ("d.jsonl", ""),
        ("d.jsonl", "\n\r\n"),
        ("d.jsonl", "\u{FEFF}"),
        ("d.json", "[]"),
        ("d.json", " \n[ ]\n"),
        ("d.csv", ""),
        ("d.csv", "text,id\n"),
        ("d.tsv", "\n\n"),
    ];
    for (name, text) in empty {
        assert_one(name, text.as_bytes(), 0, Place::File, "no rows");
    }
    assert_one("d.parquet", b"", 0, Place::File, "this is no readable Parquet");
}

#[test]
fn lists_that_are_not_closed_are_read_as_far_as_they_go() {
    let cases = [
        (
            format!("[{GOOD},\n{GOOD}"),
            2,
            2,
            "the file ends before the list does",
        ),
        (
            format!("[{GOOD},\n{{\"text\": \"a"),
            1,
            2,
            "the file ends before the list does",
        ),
        (
            format!("[{GOOD},\n{{\"text\": [1, 2"),
            1,
            2,
            "the file ends before the list does",
        ),
        (format!("[{GOOD},"), 1, 1, "the file ends before the list does"),
        ("[".to_owned(), 0, 1, "the file ends before the list does"),
        (format!("[{GOOD},\n]"), 1, 2, "a comma before the end of the list"),
        (
            format!("[{GOOD}]\n{GOOD}"),
            1,
            2,
            "text after the end of the list",
        ),
        (format!("[{GOOD},,{GOOD}]"), 2, 1, "invalid JSON"),
        (
            "{\n  \"data\": []\n}\n".to_owned(),
            0,
            1,
            "one object over several lines",
        ),
    ];
    for (text, good, line, message) in cases {
        assert_one("d.json", text.as_bytes(), good, Place::Line(line), message);
    }
}

#[test]
fn tables_that_are_malformed_are_named_by_line() {
    let cases = [
        (
            "text,id\na,1\nb\nc,3\n",
            2,
            3,
            "1 values, but the header has 2 columns",
        ),
        (
            "text,id\na,1\nb,2,3\nc,3\n",
            2,
            3,
            "3 values, but the header has 2 columns",
        ),
        (
            "text\n\"a\nb\"\n\"c\n",
            1,
            4,
            "a quote is opened and never closed",
        ),
        ("text,text\na,b\n", 0, 1, "two columns are called `text`"),
        (
            "text,weight\na,1\nb,heavy\nc,2\n",
            2,
            3,
            "`weight`: expected a number, found a string",
        ),
        (
            "text,weight\na,-1\nc,2\n",
            1,
            2,
            "`weight`: expected a finite number of at least 0, found `-1`",
        ),
        (
            "prompt,completion\np,c\np,\n",
            1,
            3,
            "`prompt` without `completion`",
        ),
        (
            "messages\n\"[{'role': 'user'}]\"\n",
            0,
            2,
            "a string that is no JSON list",
        ),
    ];
    for (text, good, line, message) in cases {
        assert_one("d.csv", text.as_bytes(), good, Place::Line(line), message);
    }
}

#[test]
fn a_record_that_is_too_long_is_skipped() {
    let long = "a".repeat(64 << 20);
    let jsonl = format!("{GOOD}\n{{\"text\": \"{long}\"}}\n{GOOD}\n");
    assert_one(
        "d.jsonl",
        jsonl.as_bytes(),
        2,
        Place::Line(2),
        "longer than 64 MiB",
    );
    let json = format!("[{GOOD},\n{{\"text\": \"{long}\"}},\n{GOOD}]");
    assert_one("d.json", json.as_bytes(), 2, Place::Line(2), "longer than 64 MiB");
    let csv = format!("text\na\n\"{long}{}", " ".repeat(1 << 16));
    assert_one("d.csv", csv.as_bytes(), 1, Place::Line(3), "longer than 64 MiB");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("{{\"text\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let text = format!("{GOOD}\n{deep}\n{GOOD}\n");
    assert_one(
        "d.jsonl",
        text.as_bytes(),
        2,
        Place::Line(2),
        "recursion limit exceeded",
    );
}

#[test]
fn files_that_are_cut_short_keep_their_whole_rows() {
    let rows: String = (0..20_000)
        .map(|n| format!("{{\"text\": \"row {n} {}\"}}\n", n * 7919 % 1009))
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(rows.as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(rows.as_bytes(), 0).unwrap();
    for (name, bytes) in [("d.jsonl.gz", gzip), ("d.jsonl.zst", zstd)] {
        assert_eq!(read(name, &bytes).0.len(), 20_000, "{name}");
        let (rows, problems) = read(name, &bytes[..bytes.len() - 8]);
        let [problem] = problems.as_slice() else {
            panic!("{problems:?}");
        };
        assert!(rows.len() > 1000, "{}", rows.len());
        assert_eq!(problem.place, Place::Line(rows.len() + 1), "{problem}");
        assert!(problem.message.starts_with("the file is cut short"), "{problem}");
    }
    assert_one(
        "d.jsonl.gz",
        b"",
        0,
        Place::File,
        "neither gzip nor Zstandard, as its name says",
    );
    assert_one(
        "d.jsonl.gz",
        GOOD.as_bytes(),
        0,
        Place::File,
        "neither gzip nor Zstandard, as its name says",
    );
    assert_one(
        "d.parquet.gz",
        GOOD.as_bytes(),
        0,
        Place::File,
        "unpack the file first",
    );
    assert_one("d.jsonl", b"PAR1....PAR1", 0, Place::File, "ends in `.parquet`");
}
