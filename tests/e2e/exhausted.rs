//! Insufficient memory: before a run, and during one.

use crate::CADFT;
use crate::memory::larger_workspace;
use cadft_tests::{Workspace, backends, command, runs};
use serde_json::{Value, json};
use std::fs;

/// A workspace whose data have sixteen short samples, and a last one for which a wide feed-forward block needs buffers
/// of 156 MiB.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let row = |answer: &str| json!({"prompt": "say: ", "completion": answer}).to_string();
    let mut rows = vec![row("a b c d"); 16];
    rows.push(row(&"a b c d ".repeat(500)));
    rows.push(row("a b c d"));
    workspace.write("rows.jsonl", &rows.join("\n"));
    let text = fs::read_to_string(workspace.path("model/config.json")).expect("a config");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["max_position_embeddings"] = json!(32768);
    config["intermediate_size"] = json!(16384);
    workspace.write("model/config.json", &config.to_string());
    workspace
}

const RUN: [&str; 23] = [
    "train",
    "--recipe",
    "recipe.nll.toml",
    "--device",
    "wgpu",
    "--out",
    "run",
    "--set",
    "model.init=random",
    "--set",
    "data.train=[\"rows.jsonl\"]",
    "--set",
    "data.eval=[]",
    "--set",
    "data.max-length=32768",
    "--set",
    "batch.global=2",
    "--set",
    "batch.micro=1",
    "--set",
    "schedule.steps=9",
    "--set",
    "checkpoint.every=4",
];

/// Trains a model with random weights on the CPU.
const RANDOM: [&str; 4] = [
    "train",
    "recipe.nll.toml",
    "--device=flex",
    "--set=model.init=random",
];

#[test]
fn a_device_without_memory_is_one_error_and_the_run_goes_on_with_less() {
    if !backends().contains(&"wgpu") {
        return;
    }
    let workspace = workspace();
    let outcome = workspace.run(CADFT, &RUN);
    let stderr = outcome.stderr;
    assert_eq!(outcome.code, Some(1), "{stderr}");
    for part in [
        "error: after the end of step 8: no buffer of the device can have the 15",
        "was estimated to need",
        "the last checkpoint is intact: `run/checkpoints/step-000008`",
        "hint: set `model.recompute = \"blocks\"`, or lower `data.max-length` (now 32768), or train an `[adapter]`",
        "hint: `cadft train --resume run --allow-change --set KEY=VALUE` goes on with less",
    ] {
        assert!(stderr.contains(part), "`{part}` is not in:\n{stderr}");
    }
    for part in ["panicked", "backtrace", "WARN", "Caused by"] {
        assert!(!stderr.contains(part), "`{part}` is in:\n{stderr}");
    }
    let resume = [
        "train",
        "--resume",
        "run",
        "--device",
        "wgpu",
        "--allow-change",
        "--set",
        "data.max-length=64",
    ];
    let _ = workspace.run(CADFT, &resume).succeeded();
    let steps = command::steps(&runs::metrics(&workspace.path("run")).join("\n"));
    assert_eq!(steps.len(), 9);
}

#[test]
fn a_run_that_cannot_fit_the_process_is_refused_before_it_starts() {
    let workspace = larger_workspace();
    let args = [
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--device",
        "flex",
        "--set",
        "model.init=random",
        "--out",
        "run",
    ];
    let script = "ulimit -v 420000; exec \"$0\" \"$@\"";
    let outcome = workspace.run("sh", &[&["-c", script, CADFT], &args[..]].concat());
    outcome.refused(&["MiB of memory", "are available", "hint: lower `batch.micro`"]);
    assert!(!workspace.path("run").exists(), "nothing is written");
}

#[test]
fn weights_that_do_not_fit_are_refused_before_they_are_read() {
    let workspace = Workspace::new();
    let text = fs::read_to_string(workspace.path("model/config.json")).expect("a config");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["intermediate_size"] = json!(4_000_000);
    workspace.write("model/config.json", &config.to_string());
    let data = ["--data", "messages.jsonl"];
    let commands: [&[&str]; 4] = [
        &["score", "--model", "model", data[0], data[1]],
        &["evaluate", "--model", "model", data[0], data[1]],
        &["generate", "--model", "model", "--prompt", "a"],
        &["model", "convert", "--model", "model", "--out", "new"],
    ];
    for args in commands {
        let outcome = command::run_after("ulimit -v 900000", CADFT, workspace.root(), args);
        outcome.refused(&["the weights of `model` take 29", "MiB are available", "hint:"]);
        assert!(!workspace.path("new").exists(), "nothing is written");
    }
}

#[test]
fn answers_are_made_fewer_at_a_time_where_more_do_not_fit() {
    let workspace = larger_workspace();
    let train = [
        &RANDOM[..],
        &["--set=schedule.steps=1", "--set=data.eval=[]", "--out=run"],
    ]
    .concat();
    let _ = workspace.run(CADFT, &train).succeeded();
    let text = fs::read_to_string(workspace.path("run/model/config.json")).expect("a config");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["max_position_embeddings"] = json!(8192);
    workspace.write("run/model/config.json", &config.to_string());
    // Every token ends an answer, but memory for long answers is reserved anyway.
    let vocab = config["vocab_size"].as_u64().expect("a size");
    let ends = json!({"eos_token_id": (0..vocab).collect::<Vec<_>>()});
    workspace.write("run/model/generation_config.json", &ends.to_string());
    let args = [
        "generate",
        "--model",
        "run/model",
        "--device",
        "flex",
        "--prompt",
        "a",
        "--json",
        "--samples",
        "32",
        "--batch",
        "32",
        "--max-new-tokens",
        "4000",
    ];
    let expected = workspace.run(CADFT, &args).succeeded().stdout;
    assert_eq!(expected.lines().count(), 32);
    // 32 sequences would take 2.2 GiB.
    let limited = command::run_after("ulimit -v 1400000", CADFT, workspace.root(), &args).succeeded();
    assert_eq!(limited.stdout, expected);
}

/// Below the limit of addresses, a command refuses to begin, works, or ends with one error: it does not abort.
#[test]
fn a_command_without_memory_ends_with_one_error() {
    let workspace = larger_workspace();
    let settings = [
        "--set=guard.memory=warn",
        "--set=schedule.steps=2",
        "--set=checkpoint.every=1",
    ];
    let train = [&RANDOM[..], &settings].concat();
    let stats = ["data", "stats", "--model", "model", "--data", "messages.jsonl"];
    let mut ends = vec![];
    for mib in (300..1000).step_by(100) {
        for args in [&train[..], &stats] {
            let limit = format!("ulimit -v {}", mib * 1024);
            let outcome = command::run_after(&limit, CADFT, workspace.root(), args);
            let stderr = &outcome.stderr;
            let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
            match outcome.code {
                Some(0) => assert_eq!(errors, 0, "{limit}: {stderr}"),
                Some(1 | 2) => assert!(errors == 1 && stderr.contains("hint: "), "{limit}: {stderr}"),
                code => panic!("{limit}: {args:?} ends with {code:?}: {stderr}"),
            }
            for part in ["panicked", "stack backtrace", "memory allocation of"] {
                assert!(!stderr.contains(part), "{limit}: `{part}` is in {stderr}");
            }
            ends.push(outcome.code);
        }
    }
    assert!(ends.contains(&Some(0)) && ends.contains(&Some(1)), "{ends:?}");
}

#[test]
fn a_plan_names_the_limit_that_a_run_would_exceed() {
    let workspace = larger_workspace();
    let dry = [&RANDOM[..], &["--dry-run"]].concat();
    for args in [&dry[..], &RANDOM] {
        let outcome = command::run_after("ulimit -v 600000", CADFT, workspace.root(), args);
        outcome.refused(&["MiB are available under `ulimit -v`: it would fail", "hint: "]);
    }
    assert!(!workspace.path("runs").exists(), "nothing is written");
}
