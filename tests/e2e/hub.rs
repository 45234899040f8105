//! Names on the Hub, through the command. Other behaviour of a Hub is tested in `crates/cadft-hub/tests`.

use crate::CADFT;
use cadft_data::Source;
use cadft_tests::command::{Outcome, run};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

const TOKEN: &str = "hf_s3cretOfTheUser";

/// A server that gives the same answer to every request. Returns its address.
fn hub(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .count();
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// For `env`: nothing of the user's own settings, and the most detailed log.
pub(crate) const VARIABLES: [&str; 8] = [
    "-u",
    "HF_HUB_CACHE",
    "-u",
    "HF_HUB_OFFLINE",
    "-u",
    "TRANSFORMERS_OFFLINE",
    "NO_PROXY=*",
    "CADFT_LOG=trace",
];

/// Generates with a model from this Hub, with a cache below `directory`.
fn generate(directory: &Path, endpoint: &str) -> Outcome {
    let home = format!("HF_HOME={}", directory.join("hf").display());
    let (token, endpoint) = (format!("HF_TOKEN={TOKEN}"), format!("HF_ENDPOINT={endpoint}"));
    let command = [
        &home, &token, &endpoint, CADFT, "generate", "--model", "hf://o/n", "--prompt", "hi",
    ];
    let outcome = run("env", directory, &[&VARIABLES[..], &command].concat());
    // Bytes are logged in pieces of sixteen: a piece of the token must not be logged either.
    let pieces = TOKEN
        .as_bytes()
        .windows(8)
        .map(|piece| str::from_utf8(piece).unwrap());
    let shown: Vec<_> = pieces.filter(|piece| outcome.stderr.contains(piece)).collect();
    assert!(shown.is_empty(), "{shown:?}: {}", outcome.stderr);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    outcome
}

#[test]
fn an_answer_that_is_wrong_is_an_error_of_the_input() {
    let directory = tempfile::tempdir().unwrap();
    for (answer, part) in [
        (
            "HTTP/1.1 302 X\r\ncontent-length: 0\r\n\r\n",
            "a redirection without a `Location`",
        ),
        (
            "HTTP/1.1 200 X\r\ncontent-length: 25\r\n\r\n{\"sha\": \"../../escaped\" }",
            "`sha`",
        ),
        (
            "HTTP/1.1 401 X\r\nx-error-message: no hf_s3cretOfTheUser\r\ncontent-length: 0\r\n\r\n",
            "[secret]",
        ),
        ("SSH-2.0-OpenSSH\r\n", "hint:"),
    ] {
        let outcome = generate(directory.path(), &format!("http://{}", hub(answer)));
        outcome.refused(&["`hf://o/n`", "from http://127.0.0.1:", part, "hint:"]);
    }
    assert!(!directory.path().join("escaped").exists());
}

#[test]
fn a_network_that_fails_is_no_error_of_the_input_and_a_password_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = generate(directory.path(), &format!("http://user:pa55word@{address}"));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains(&format!("from http://{address}/api/models/o/n")),
        "{}",
        outcome.stderr
    );
    assert!(
        !outcome.stderr.contains("pa55word") && outcome.stderr.contains("hint:"),
        "{}",
        outcome.stderr
    );
    let outcome = generate(directory.path(), "ftp://user:pa55word@host");
    outcome.refused(&["`HF_ENDPOINT`", "hint:"]);
    assert!(!outcome.stderr.contains("pa55word"));
}

#[test]
fn a_directory_is_read_from_the_files_that_the_hub_gives() {
    for name in [
        "a.jsonl",
        "a.JSONL",
        "a.ndjson",
        "a.json",
        "a.csv",
        "a.tsv",
        "a.parquet",
        "a.pq",
        "a.jsonl.gz",
        "a.csv.zst",
        "a.json.gzip",
        "a.tsv.zstd",
        "b/a.jsonl",
        "b.c/a.jsonl",
        ".a.jsonl",
        "_a.jsonl",
        ".b/a.jsonl",
        "_b/a.jsonl",
        "a.txt",
        "a.md",
        "README.md",
        "a.gz",
        "a.jsonl.bz2",
        "a.zip",
        "jsonl",
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
        "a.py",
        "a.safetensors",
        "b/state.json",
        "config.json",
        "a.jsonl.tmp",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{}").unwrap();
        let is_read = Source::new(directory.path().to_str().unwrap()).files().is_ok();
        assert_eq!(cadft_train::hub::is_data_file(name), is_read, "{name}");
    }
}
