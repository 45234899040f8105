//! Small files that would fill the memory or take forever, and files of other kinds.

use std::io::Write;

use cadft_data::{DataError, Row, parse_file, with_hints};
use flate2::Compression;
use flate2::write::GzEncoder;

fn refused(name: &str, bytes: &[u8]) -> (Vec<String>, usize) {
    match parse_file(name, bytes) {
        Err(DataError::Invalid { problems, more }) => {
            (problems.iter().map(ToString::to_string).collect(), more)
        }
        other => panic!("{name}: {:?}", other.map(|rows: Vec<Row>| rows.len())),
    }
}

fn gzip(start: &str, repeated: &str, times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(start.as_bytes()).unwrap();
    let many = repeated.repeat(4096);
    for _ in 0..times / 4096 {
        encoder.write_all(many.as_bytes()).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn problems_beyond_the_first_thousand_are_counted() {
    let text = "{\"text\": \"a\"}\n".to_owned() + &"{\"text\": 1}\n".repeat(5000);
    let (problems, more) = refused("d.jsonl", text.as_bytes());
    assert_eq!((problems.len(), more), (1000, 4000));
    let error = with_hints(&parse_file("d.jsonl", text.as_bytes()).unwrap_err());
    assert!(error.contains("\n... and 4980 more\nhint: "), "{error}");
}

#[test]
fn a_file_of_millions_of_bad_records_is_given_up_on() {
    for (name, start, repeated) in [
        ("d.jsonl.gz", "", "x\n"),
        ("d.json.gz", "[", "1,"),
        ("d.csv.gz", "text,id\n", "a\n"),
    ] {
        let (problems, more) = refused(name, &gzip(start, repeated, 20_000_000));
        assert_eq!((problems.len(), more), (1000, 100_001 - 1000), "{name}");
    }
    let row = format!("{{\"text\": \"{}\"}}\n", "a".repeat(8000));
    for (text, place) in [("\n", ""), (row.as_str(), ":")] {
        let (problems, more) = refused("d.jsonl.gz", &gzip("", text, 300_000_000 / text.len()));
        assert_eq!((problems.len(), more), (1, 0), "{problems:?}");
        assert!(
            problems[0].starts_with(&format!("d.jsonl.gz{place}")),
            "{problems:?}"
        );
        assert!(
            problems[0].contains("it unpacks to more than 200 times its size"),
            "{problems:?}"
        );
    }
}

#[test]
fn a_column_that_no_row_has_is_one_problem() {
    let csv = "question,reply,id\n".to_owned() + &"q,a,1\n".repeat(2000);
    let (problems, more) = refused("d.csv", csv.as_bytes());
    assert_eq!(more, 0);
    assert_eq!(
        problems,
        [
            "d.csv: no `messages`, `conversations`, `prompt` and `completion`, `instruction` and `output`, or `text` in \
          2000 rows; columns are `question`, `reply`, `id`"
        ]
    );
    let some = csv.replacen("question,reply,id\n", "question,text,id\n", 1) + "q,,2\nq,,3\n";
    assert_eq!(refused("d.csv", some.as_bytes()).0.len(), 2);
}

#[test]
fn messages_stay_short() {
    let key = "k".repeat(1 << 20);
    let long = format!("{{\"{key}\": 1}}\n{{\"messages\": [{{\"role\": \"{key}\", \"content\": \"\"}}]}}\n");
    let many: String = (0..100_000).map(|n| format!("\"k{n}\": 0,")).collect();
    for text in [long, format!("{{{many} \"k\": 0}}\n")] {
        let error = with_hints(&parse_file("d.jsonl", text.as_bytes()).unwrap_err());
        assert!(error.len() < 4000, "{}", error.len());
    }
}

#[test]
fn one_record_of_millions_of_values_is_refused() {
    let ones = "1,".repeat(20_000_000);
    for (name, text, message) in [
        ("d.jsonl", format!("[{ones}1]\n"), "more than 2000000 values"),
        (
            "d.jsonl",
            format!("{{\"messages\": \"[{ones}1]\"}}\n"),
            "more than 2000000 values",
        ),
        ("d.csv", format!("{ones}1\n{ones}1\n"), "more than 10000 columns"),
    ] {
        let (problems, _) = refused(name, text.as_bytes());
        assert!(
            problems.len() == 1 && problems[0].contains(message),
            "{problems:?}"
        );
    }
    let many = format!("{{\"messages\": [{}1]}}\n{{}}\n", "1,".repeat(1_000_000));
    assert_eq!(refused("d.jsonl", many.as_bytes()).0.len(), 22);
}

#[test]
fn the_hint_about_formats_stands_under_rows_without_one() {
    let error = |text: &str| with_hints(&parse_file("d.jsonl", text.as_bytes()).unwrap_err());
    assert!(error("{\"question\": 1}\n").contains("\nhint: every row has `messages`"));
    for text in ["nope\n", "", "{\"text\": \"\"}\n"] {
        assert!(!error(text).contains("every row has"), "{text}");
    }
}

#[test]
fn files_that_are_something_else_are_called_what_they_are() {
    let html = b"\n<!DOCTYPE HTML><html lang=\"en\">".as_slice();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".as_slice();
    let cases: [(&[u8], &str); 9] = [
        (b"BZh61AY&SY\0\0", "packed with bzip2; unpack it with `bunzip2`"),
        (b"\xFD7zXZ\0\0", "packed with xz; unpack it with `unxz`"),
        (b"PK\x03\x04\0\0", "a ZIP archive; unpack it with `unzip`"),
        (b"ARROW1\0\0", "an Arrow file; write it with `to_parquet`"),
        (
            b"\xFF\xFF\xFF\xFF\x10\0",
            "an Arrow stream; write it with `to_parquet`",
        ),
        (b"FEA1\0\0", "a Feather file; write it with `to_parquet`"),
        (b"\x80\x04\x95\x10\0", "a pickle; it is a program and is not run"),
        (
            pointer,
            "a pointer of Git LFS in place of the file; fetch the file with `git lfs pull`",
        ),
        (html, "an HTML page; a download that failed leaves one"),
    ];
    for (bytes, what) in cases {
        for name in ["d.jsonl", "d.json", "d.csv", "d.parquet", "d.bz2", "d"] {
            let (problems, _) = refused(name, bytes);
            assert_eq!(problems.len(), 1, "{name}: {problems:?}");
            assert!(
                problems[0].contains(&format!("this is {what}")),
                "{name}: {problems:?}"
            );
        }
    }
    let packed = gzip("<html>", " ", 4096);
    assert!(refused("d.jsonl.gz", &packed).0[0].contains("an HTML page"));
}

#[test]
fn integers_beyond_64_bits_are_refused_where_they_are_read() {
    let refused = |text: &str| refused("d.jsonl", text.as_bytes()).0;
    for text in [
        r#"{"text": "a", "id": 12345678901234567890123}"#,
        r#"{"tools": [{"n": -12345678901234567890123}], "messages": [{"role": "assistant", "content": "a"}]}"#,
        r#"{"tools": "[12345678901234567890123]", "messages": [{"role": "assistant", "content": "a"}]}"#,
    ] {
        let problems = refused(text);
        assert!(
            problems[0].contains("is beyond 64 bits") || problems[0].contains("12345678901234567890123"),
            "{problems:?}"
        );
    }
    let good = r#"{"text": "12345678901234567890123", "other": 12345678901234567890123, "id": 18446744073709551615}"#;
    let rows = parse_file("d.jsonl", good.as_bytes()).unwrap();
    assert_eq!(rows[0].id, "18446744073709551615");
}

#[test]
fn zstandard_with_a_long_window_or_a_skippable_frame_is_read() {
    let text = "{\"text\": \"a\"}\n".repeat(1000);
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(31).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    let long = encoder.finish().unwrap();
    let skippable = [
        &b"\x5E\x2A\x4D\x18\x04\0\0\0abcd"[..],
        &zstd::encode_all(text.as_bytes(), 0).unwrap(),
    ]
    .concat();
    for bytes in [long, skippable] {
        assert_eq!(parse_file("d.jsonl.zst", &bytes).unwrap().len(), 1000);
    }
}
