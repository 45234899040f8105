//! Small foreign files: no command takes more than a minute or a gigabyte for them, and each ends with an answer or an
//! error. Since time grows with the text that is tokenised, files that may be read hold about ten megabytes of it.

use crate::CADFT;
use cadft_tests::Workspace;
use cadft_tests::command::run_measured;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MOST_TIME: Duration = Duration::from_secs(60);
const MOST_MIB: u64 = 1024;
/// Largest output of a command, in bytes.
const LONGEST_OUTPUT: usize = 256 << 10;
const MIB: usize = 1 << 20;

/// Whether a command must refuse its input, or may accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Refused,
    Either,
}
use Expected::{Either, Refused};

/// Runs commands on a file, and prints their time and memory.
fn check(workspace: &Workspace, name: &str, expected: Expected) {
    check_reading(workspace, name, expected);
    let args = ["data", "stats", "--model", "model", "--data", name];
    check_command(workspace, name, &args, expected);
}

/// Runs only commands that do not tokenise.
fn check_reading(workspace: &Workspace, name: &str, expected: Expected) {
    check_command(workspace, name, &["data", "validate", "--data", name], expected);
}

fn check_command(workspace: &Workspace, name: &str, args: &[&str], expected: Expected) {
    let (outcome, cost) = run_measured(CADFT, workspace.root(), args, MOST_TIME);
    println!(
        "{name}: {} {:.1} s {} MiB, code {:?}",
        args[1],
        cost.elapsed.as_secs_f64(),
        cost.peak_mib,
        outcome.code
    );
    let start: String = outcome.stderr.chars().take(2000).collect();
    let is_allowed = match expected {
        Refused => outcome.code == Some(2),
        Either => matches!(outcome.code, Some(0..=2)),
    };
    assert!(is_allowed, "{args:?}: {:?} after {cost:?}\n{start}", outcome.code);
    assert!(
        cost.elapsed < MOST_TIME && cost.peak_mib < MOST_MIB,
        "{args:?}: {cost:?}\n{start}"
    );
    assert!(
        !outcome.stderr.contains("panicked") && !outcome.stderr.contains("backtrace"),
        "{args:?}: {start}"
    );
    let said = outcome.stdout.len() + outcome.stderr.len();
    assert!(said < LONGEST_OUTPUT, "{args:?}: {said} bytes of output");
}

fn gzip(start: &[u8], repeated: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::new(9));
    repeat(&mut encoder, start, repeated, times);
    encoder.finish().expect("gzip")
}

fn zstd(start: &[u8], repeated: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).expect("zstd");
    repeat(&mut encoder, start, repeated, times);
    encoder.finish().expect("zstd")
}

fn repeat(out: &mut impl Write, start: &[u8], repeated: &[u8], times: usize) {
    out.write_all(start).expect("bytes");
    let many = repeated.repeat(4096);
    for _ in 0..times / 4096 {
        out.write_all(&many).expect("bytes");
    }
}

/// Text that is deeply nested, or that decompresses to much more.
fn nested_or_packed() -> Vec<(&'static str, Vec<u8>, Expected)> {
    vec![
        ("deep.jsonl", "[".repeat(1_000_000).into_bytes(), Refused),
        (
            "deep-objects.jsonl",
            "{\"a\":".repeat(1_000_000).into_bytes(),
            Refused,
        ),
        ("deep-list.json", b"[".repeat(1_000_000), Refused),
        (
            "long-line.jsonl.gz",
            gzip(b"{\"text\": \"", b"a", 400_000_000),
            Refused,
        ),
        (
            "long-line.jsonl.zst",
            zstd(b"{\"text\": \"", b"a", 400_000_000),
            Refused,
        ),
        (
            "no-record.csv.gz",
            gzip(b"text,id\n\"", b"a,\n", 100_000_000),
            Refused,
        ),
        ("many-lines.jsonl.zst", zstd(b"", b"x\n", 200_000_000), Refused),
    ]
}

/// Repetitive text.
fn repeated() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let message = |content: &str| {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{content}\"}}, {{\"role\": \"assistant\", \"content\": \"{content}\"}}]}}\n"
        )
    };
    let turns = "{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}, "
        .repeat(20_000);
    let list = |of: &str, times: usize| {
        format!(
            "{{\"messages\": [{}{}]}}\n",
            of.repeat(times),
            of.trim_end_matches([',', ' '])
        )
    };
    vec![
        (
            "deep-text.jsonl",
            message(&"[{".repeat(500_000)).into_bytes(),
            Either,
        ),
        (
            "many-keys.jsonl",
            format!("{{{}\"k\": 0}}\n", "\"k\": 0,".repeat(1_000_000)).into_bytes(),
            Refused,
        ),
        (
            "many-columns.csv",
            ["a,".repeat(500_000).into_bytes(), b"\n1\n".to_vec()].concat(),
            Refused,
        ),
        ("many-turns.jsonl", list(&turns, 1).into_bytes(), Either),
        (
            "many-empty-turns.jsonl",
            list("{},", 500_000).into_bytes(),
            Refused,
        ),
        (
            "digits.jsonl",
            format!("{{\"text\": \"a\", \"id\": {}}}\n", "9".repeat(5_000_000)).into_bytes(),
            Either,
        ),
        (
            "escapes.jsonl",
            message(&"\\u0041\\ud83d\\ude00".repeat(200_000)).into_bytes(),
            Either,
        ),
        (
            "one-word.jsonl",
            message(&"a".repeat(4_000_000)).into_bytes(),
            Either,
        ),
        (
            "spaces.jsonl",
            message(&" ".repeat(4_000_000)).into_bytes(),
            Either,
        ),
        (
            "marks.jsonl",
            message(&"</s><s>".repeat(300_000)).into_bytes(),
            Either,
        ),
        (
            "combining.jsonl",
            message(&"a\u{301}\u{316}".repeat(500_000)).into_bytes(),
            Either,
        ),
        ("members.jsonl.gz", gzip(b"", b"", 0).repeat(200_000), Refused),
    ]
}

#[test]
fn text_that_unpacks_nests_or_repeats_is_read_within_a_minute_and_a_gigabyte() {
    let workspace = Workspace::new();
    for (name, bytes, expected) in nested_or_packed().into_iter().chain(repeated()) {
        fs::write(workspace.path(name), bytes).expect("a file");
        check(&workspace, name, expected);
        fs::remove_file(workspace.path(name)).expect("the file");
    }
}

/// Writes a file of rows that all have the same text of `bytes` bytes.
fn parquet(path: &Path, properties: WriterProperties, bytes: usize, rows: usize) {
    let schema = parse_message_type("message rows { required binary text (STRING); }").expect("a schema");
    let file = File::create(path).expect("a file");
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).expect("a writer");
    let texts = vec![ByteArray::from(vec![b'a'; bytes]); rows];
    let mut group = writer.next_row_group().expect("a group of rows");
    let mut column = group.next_column().expect("a column").expect("a column");
    column
        .typed::<ByteArrayType>()
        .write_batch(&texts, None, None)
        .expect("rows");
    column.close().expect("the column");
    group.close().expect("the group");
    let _ = writer.close().expect("the file");
}

#[test]
fn parquet_that_unpacks_is_read_within_a_minute_and_a_gigabyte() {
    let workspace = Workspace::new();
    let codecs = [
        ("zstd", Compression::ZSTD(ZstdLevel::default())),
        ("gzip", Compression::GZIP(GzipLevel::default())),
        ("brotli", Compression::BROTLI(BrotliLevel::default())),
        ("snappy", Compression::SNAPPY),
        ("lz4", Compression::LZ4_RAW),
    ];
    let builder = |codec| {
        WriterProperties::builder()
            .set_compression(codec)
            .set_dictionary_enabled(false)
    };
    for (name, codec) in codecs {
        // Rows of 1 MiB, all in one page.
        let file = format!("rows.{name}.parquet");
        parquet(&workspace.path(&file), builder(codec).build(), MIB, 8);
        check(&workspace, &file, Either);
        let page = builder(codec)
            .set_data_page_size_limit(1 << 30)
            .set_data_page_row_count_limit(1 << 20);
        let file = format!("page.{name}.parquet");
        parquet(
            &workspace.path(&file),
            page.set_write_batch_size(1 << 20).build(),
            4 * MIB,
            96,
        );
        check_reading(&workspace, &file, Either);
        // One row that exceeds the limit.
        let file = format!("row.{name}.parquet");
        parquet(&workspace.path(&file), builder(codec).build(), 200 * MIB, 1);
        check_reading(&workspace, &file, Refused);
    }
    // A dictionary with one word of 1 MiB, to which every row refers.
    let dictionary = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(1 << 30);
    parquet(
        &workspace.path("dictionary.parquet"),
        dictionary.build(),
        4 * MIB,
        1024,
    );
    check_reading(&workspace, "dictionary.parquet", Either);
    for entry in fs::read_dir(workspace.root()).expect("the workspace") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "parquet") {
            println!(
                "{}: {} bytes",
                path.display(),
                path.metadata().expect("a file").len()
            );
        }
    }
}

#[test]
fn a_walk_of_many_stars_over_links_that_loop_ends() {
    let workspace = Workspace::new();
    let mut directory = workspace.path("loop");
    for depth in 0..12 {
        fs::create_dir(&directory).expect("a directory");
        for name in ["a", "b", "c"] {
            std::os::unix::fs::symlink(".", directory.join(name)).expect("a link");
        }
        std::os::unix::fs::symlink("..", directory.join("up")).expect("a link");
        directory = directory.join(format!("d{depth}"));
    }
    fs::copy(
        workspace.path("messages.jsonl"),
        directory.with_file_name("t.jsonl"),
    )
    .expect("a copy");
    let stars = format!("loop/{}*.jsonl", "**/".repeat(12));
    for pattern in [
        "loop/**/*.jsonl",
        "loop",
        &stars,
        "loop/*/*/*/*/*/*/*/*/*/*/*/*.jsonl",
    ] {
        check(&workspace, pattern, Either);
    }
}

/// A copy of the model with one file changed.
fn model_with(workspace: &Workspace, name: &str, change: impl FnOnce(&Path)) {
    let model = workspace.path(name);
    fs::create_dir(&model).expect("a directory");
    for entry in fs::read_dir(workspace.path("model")).expect("the model") {
        let path = entry.expect("an entry").path();
        let _ = fs::copy(&path, model.join(path.file_name().expect("a name"))).expect("a copy");
    }
    change(&model);
}

#[test]
fn a_template_or_a_normaliser_from_elsewhere_takes_some_hundred_megabytes() {
    let workspace = Workspace::new();
    let templates = [
        (
            "doubles",
            "{% set ns = namespace(a='a') %}{% for i in range(99999) %}{% set ns.a = ns.a * 2 %}{% endfor %}{{ ns.a }}",
        ),
        (
            "loops",
            "{% for i in range(100000) %}{% for j in range(100000) %}{% set x = i ~ j %}{% endfor %}{% endfor %}",
        ),
        (
            "lists",
            "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        ),
        (
            "writes",
            "{% for i in range(1000) %}{{ 'a' * 1000000 }}{% endfor %}",
        ),
    ];
    for (name, template) in templates {
        model_with(&workspace, name, |model| {
            fs::write(model.join("chat_template.jinja"), template).expect("a template");
        });
    }
    let word = format!("{{\"text\": \"{}\"}}\n", "a".repeat(1 << 20));
    workspace.write("words.jsonl", &word.repeat(16));
    model_with(&workspace, "grows", |model| {
        let path = model.join("tokenizer.json");
        let text = fs::read_to_string(&path).expect("a tokenizer");
        let mut tokenizer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        tokenizer["normalizer"] =
            serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(200)});
        fs::write(path, tokenizer.to_string()).expect("a tokenizer");
    });
    let names = templates.iter().map(|(name, _)| (*name, "messages.jsonl"));
    for (name, data) in names.chain([("grows", "words.jsonl")]) {
        let args = ["data", "stats", "--model", name, "--data", data];
        let (outcome, cost) = run_measured(CADFT, workspace.root(), &args, MOST_TIME);
        println!(
            "{name}: {:.1} s {} MiB, code {:?}",
            cost.elapsed.as_secs_f64(),
            cost.peak_mib,
            outcome.code
        );
        outcome.refused(&["hint:"]);
        assert!(cost.peak_mib < 512, "{name}: {cost:?}");
    }
}
