//! Commands that chat, measure, rewrite, or use a Hub: foreign text in their messages must not control the terminal.

use super::{HOSTILE, assert_clean, assert_says_nothing, data, run_all, workspace};
use crate::CADFT;
use crate::study::Study;
use cadft_tests::Workspace;
use cadft_tests::command::{Outcome, lines, run_with};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// Chats with a model, with `said` as input.
fn chat(workspace: &Workspace, args: &[&str], said: &str) -> Outcome {
    let mut child = Command::new(CADFT)
        .arg("chat")
        .args(args)
        .current_dir(workspace.root())
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut input = child.stdin.take().expect("a pipe");
    // A command that has already ended does not read its input.
    let _ = input.write_all(said.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("an output");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn chat_says_nothing_foreign_but_the_answers() {
    let workspace = workspace();
    let said = format!("{HOSTILE}\n/reset\nb {HOSTILE}\n");
    let outcome = chat(&workspace, &["--model", HOSTILE, "--max-new-tokens", "4"], &said);
    let outcome = outcome.succeeded();
    assert_clean(&outcome.stderr, "chat");
    super::with_broken_models(&workspace);
    for args in [
        &["--model", HOSTILE][..],
        &["--model", "typed"],
        &["--model", "a\u{1b}[2J"],
        &["--model", "model", "--adapter", HOSTILE],
    ] {
        let outcome = chat(&workspace, args, &said);
        assert_eq!(outcome.code, Some(2), "{args:?}: {}", outcome.stderr);
        assert_says_nothing(&outcome, args);
    }
}

#[test]
fn commands_that_measure_show_what_they_were_given_as_it_can_be_shown() {
    let workspace = workspace();
    let config = format!("{HOSTILE}/config.json");
    let shape = ["--global", "2", "--length", "8", "--steps", "1"];
    let commands: Vec<Vec<&str>> = vec![
        vec!["doctor"],
        [&["bench", "--config", &config, "--objectives", "nll"], &shape[..]].concat(),
        [&["bench", "--config", "absent\u{1b}[2J"], &shape[..]].concat(),
        [
            &["bench", "--config", "model", "--objectives", HOSTILE],
            &shape[..],
        ]
        .concat(),
        [&["bench", "--config", "model", "--device", HOSTILE], &shape[..]].concat(),
        vec!["selftest", "--device", HOSTILE],
    ];
    run_all(&workspace, commands);
    let absent = format!("{}/{HOSTILE}/absent", workspace.root().display());
    let args = ["selftest"];
    let outcome = run_with(CADFT, workspace.root(), &args, &[("TMPDIR", absent.as_str())]);
    assert_ne!(outcome.code, Some(0));
    assert_says_nothing(&outcome, &args);
    assert!(outcome.stderr.contains("error: "), "{}", outcome.stderr);
}

#[test]
fn rounds_exports_and_replays_show_no_foreign_text_that_acts() {
    let study = Study::new();
    let rows: Vec<String> = study
        .read("train.jsonl")
        .lines()
        .map(|row| {
            let mut row: serde_json::Value = serde_json::from_str(row).expect("JSON");
            row["id"] = json!(format!("{HOSTILE}{}", row["id"]));
            row.to_string() + "\n"
        })
        .collect();
    let data = data();
    fs::write(study.path(&data), rows.concat()).expect("data");
    let (out, export) = (format!("out{HOSTILE}"), format!("export{HOSTILE}.jsonl"));
    let run = [
        "rewrite",
        "run",
        "--model",
        "embedded:quickstart",
        "--data",
        &data,
        "--max-new-tokens",
        "48",
        "--fraction",
        "0.1",
        "--probability",
        "1",
        "--out",
    ];
    let commands: Vec<Vec<&str>> = vec![
        [&run[..], &[&out]].concat(),
        [&run[..], &[&out]].concat(),
        vec!["rewrite", "list", &out],
        vec!["rewrite", "export", &out, "--out", &export],
        vec!["rewrite", "export", &out, "--out", HOSTILE, "--data", HOSTILE],
        vec!["rewrite", "replay", &out],
        vec!["rewrite", "replay", &out, "--model", HOSTILE],
        vec!["rewrite", "undo", &out, HOSTILE],
        vec!["rewrite", "replay", HOSTILE],
    ];
    for args in commands {
        let outcome = study.cadft(&args);
        assert!(
            matches!(outcome.code, Some(0 | 2)),
            "{args:?}: {}",
            outcome.stderr
        );
        assert_says_nothing(&outcome, &args);
    }
    let undone = lines(&study.read(&format!("{out}/rewrites.jsonl")))
        .into_iter()
        .find(|record| record["decision"] == "replaced");
    if let Some(id) = undone.as_ref().and_then(|record| record["id"].as_str()) {
        let args = ["rewrite", "undo", &out, id];
        let outcome = study.cadft(&args).succeeded();
        assert_says_nothing(&outcome, &args);
    }
    // A record in which all names are hostile.
    let mut record = lines(&study.read(&format!("{out}/rewrites.jsonl")));
    record[0]["model"] = json!(format!("absent{HOSTILE}"));
    let record: String = record.iter().map(|record| format!("{record}\n")).collect();
    fs::write(study.path("record.jsonl"), record).expect("a record");
    for args in [
        &["rewrite", "replay", "record.jsonl"][..],
        &["rewrite", "export", "record.jsonl", "--out", "new.jsonl"],
    ] {
        let outcome = study.cadft(args);
        assert_eq!(outcome.code, Some(2), "{args:?}: {}", outcome.stderr);
        assert_says_nothing(&outcome, args);
    }
}

/// A Hub that gives this answer to every request.
fn hub(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn what_a_hub_says_and_where_its_cache_is_steer_nothing() {
    let workspace = workspace();
    let home = workspace.path(HOSTILE).join("hf");
    let home = home.to_str().expect("UTF-8");
    for answer in [
        "HTTP/1.1 403 X\r\nx-error-message: a\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 404 \u{1b}[2J\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 X\r\ncontent-length: 26\r\n\r\n{\"sha\": \"\\u001b[2J\u{1b}]0;\u{7}\" }",
        "HTTP/1.1 302 X\r\nlocation: http://\u{1b}[2J/\r\ncontent-length: 0\r\n\r\n",
        "\u{1b}[2J\u{202e}",
    ] {
        let endpoint = hub(answer);
        let variables = [
            ("HF_HOME", home),
            ("HF_ENDPOINT", &endpoint),
            ("HF_HUB_OFFLINE", "0"),
            ("TRANSFORMERS_OFFLINE", "0"),
            ("NO_PROXY", "*"),
        ];
        let args = ["score", "--model", "hf://o/n", "--data", "messages.jsonl"];
        let outcome = run_with(CADFT, workspace.root(), &args, &variables);
        assert!(
            matches!(outcome.code, Some(1 | 2)),
            "{answer:?}: {}",
            outcome.stderr
        );
        assert_says_nothing(&outcome, &args);
    }
    let offline = [("HF_HOME", home), ("HF_HUB_OFFLINE", "1")];
    let args = ["score", "--model", "hf://o/n@main", "--data", "messages.jsonl"];
    let outcome = run_with(CADFT, workspace.root(), &args, &offline);
    outcome.refused(&["is not in the cache", "x\\u{1b}]0;title", "hint:"]);
    assert_says_nothing(&outcome, &args);
}
