//! Foreign runs, and invalid environments: they are refused at once, and no file outside is read.

use crate::CADFT;
use cadft_tests::command::{Outcome, make_pipe, run_measured, run_with};
use cadft_tests::{Workspace, runs};
use cadft_train::checkpoint;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MOST: Duration = Duration::from_secs(60);

/// A workspace with a run of four steps, with a checkpoint after each.
fn trained() -> Workspace {
    let workspace = Workspace::new();
    let args = [
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--out",
        "run",
        "--set",
        "schedule.steps=4",
        "--set",
        "checkpoint.every=2",
    ];
    let _ = workspace.run(CADFT, &args).succeeded();
    workspace
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            let _ = fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// Adds a member to the manifest, in the form that this program writes.
fn with_member(checkpoint: &Path, name: &str, like: &Path) {
    let path = checkpoint.join("training/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).expect("a manifest")).expect("JSON");
    let bytes = fs::read(like).expect("a file");
    let digest: String = <sha2::Sha256 as sha2::Digest>::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let files = manifest["files"].as_object_mut().expect("an object");
    let _ = files.insert(name.to_owned(), json!({"bytes": bytes.len(), "sha256": digest}));
    files.sort_keys();
    let text = serde_json::to_string_pretty(&manifest).expect("JSON");
    fs::write(&path, text + "\n").expect("a manifest");
}

/// The name of a thing, and a function that makes it.
type Made = (&'static str, fn(&Path));

/// Things that may be in place of a file of a checkpoint.
const IN_PLACE: [Made; 5] = [
    ("a pipe", make_pipe),
    ("a device", |path| symlink("/dev/zero", path).expect("a link")),
    ("a link to nothing", |path| {
        symlink("absent", path).expect("a link");
    }),
    ("a directory", |path| fs::create_dir(path).expect("a directory")),
    ("holes", |path| {
        let file = File::create(path).expect("a file");
        file.set_len(1 << 36).expect("a file with a hole");
    }),
];

/// Damages the last checkpoint of a copy of the run. It must be refused with the text `said`, at once.
fn assert_refused(workspace: &Workspace, what: &str, said: &str, damage: impl FnOnce(&Path)) {
    let copied = workspace.path("copied");
    copy(&workspace.path("run"), &copied);
    let checkpoint = copied.join("checkpoints/step-000004");
    damage(&checkpoint);
    let error = checkpoint::open(&checkpoint).expect_err(what).to_string();
    assert!(error.contains(said), "{what}: {error}");
    let args = [
        "train",
        "--resume",
        "copied/checkpoints/step-000004",
        "--out",
        "again",
    ];
    let (outcome, cost) = run_measured(CADFT, workspace.root(), &args, MOST);
    outcome.refused(&["error: "]);
    assert!(cost.peak_mib < 1024, "{what}: {cost:?}");
    assert!(!workspace.path("again").exists(), "{what}: something was written");
    fs::remove_dir_all(&copied).expect("the copy");
}

#[test]
fn a_checkpoint_with_something_else_in_the_place_of_a_file_is_refused_at_once() {
    let workspace = trained();
    for place in [
        "training/manifest.json",
        "training/state.json",
        "model.safetensors",
        "tokenizer.json",
    ] {
        let name = place.rsplit('/').next().expect("a name");
        for (what, make) in IN_PLACE {
            let what = format!("{what} as {place}");
            assert_refused(&workspace, &what, name, |at| {
                fs::remove_file(at.join(place)).expect("a file");
                make(&at.join(place));
            });
        }
    }
}

#[test]
fn a_name_in_a_manifest_stays_in_the_checkpoint() {
    let workspace = trained();
    let outside = workspace.path("outside");
    fs::write(&outside, "precious").expect("a file");
    let absolute = outside.to_string_lossy().into_owned();
    let names = ["../../../outside", "training/../../../../outside", &absolute, "."];
    for name in names {
        let said = "is not the name of a file in the checkpoint";
        assert_refused(&workspace, name, said, |at| with_member(at, name, &outside));
    }
    assert_eq!(fs::read_to_string(&outside).expect("a file"), "precious");
}

#[test]
fn a_run_passes_over_a_checkpoint_whose_manifest_waits_for_somebody() {
    let workspace = trained();
    let manifest = workspace.path("run/checkpoints/step-000004/training/manifest.json");
    fs::remove_file(&manifest).expect("a file");
    make_pipe(&manifest);
    let (outcome, _) = run_measured(CADFT, workspace.root(), &["train", "--resume", "run"], MOST);
    let outcome = outcome.succeeded();
    assert!(outcome.stderr.contains("manifest.json"), "{}", outcome.stderr);
    assert_eq!(runs::checkpoints(&workspace.path("run")).len(), 2);
}

#[test]
fn a_pipe_beside_a_model_or_an_adapter_is_not_waited_for() {
    let workspace = trained();
    let adapter = [
        "--set",
        "adapter.rank=2",
        "--set",
        "schedule.steps=1",
        "--out",
        "adapted",
    ];
    let train = [&["train", "--recipe", "recipe.nll.toml"][..], &adapter].concat();
    let _ = workspace.run(CADFT, &train).succeeded();
    let template = workspace.path("adapted/model/chat_template.jinja");
    let _ = fs::remove_file(&template);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let _ = fs::remove_file(workspace.path("adapted/model").join(name));
    }
    make_pipe(&template);
    make_pipe(&workspace.path("model/other.safetensors.index.json"));
    make_pipe(&workspace.path("model/README.md"));
    let again = [
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--set",
        "schedule.steps=1",
        "--out",
        "more",
    ];
    let commands: [(&[&str], Option<i32>); 3] = [
        (
            &[
                "score",
                "--quiet",
                "--model",
                "model",
                "--adapter",
                "adapted/model",
                "--data",
                "eval.jsonl",
            ],
            Some(2),
        ),
        (&again, Some(0)),
        (
            &["model", "convert", "--model", "model", "--out", "converted"],
            Some(0),
        ),
    ];
    for (args, code) in commands {
        let (outcome, _) = run_measured(CADFT, workspace.root(), args, MOST);
        assert_eq!(outcome.code, code, "{args:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_number_of_threads_that_is_none_changes_nothing_and_one_that_is_too_large_is_refused() {
    let workspace = Workspace::new();
    let args = ["score", "--quiet", "--model", "model", "--data", "eval.jsonl"];
    let with = |threads: &str| run_with(CADFT, workspace.root(), &args, &[("RAYON_NUM_THREADS", threads)]);
    let expected = workspace.run(CADFT, &args).succeeded().stdout;
    for threads in [
        "",
        "x",
        "-1",
        "1e9",
        "0",
        "1 2",
        " 2 ",
        "\u{1b}[2J",
        "99999999999999999999999",
    ] {
        assert_eq!(with(threads).succeeded().stdout, expected, "{threads:?}");
    }
    for threads in ["4097", "100000", "18446744073709551615"] {
        with(threads).refused(&["`RAYON_NUM_THREADS`", threads, "hint:"]);
    }
}

#[test]
fn an_argument_that_is_not_utf_8_is_named() {
    let workspace = Workspace::new();
    let bad = OsStr::from_bytes(b"bad\xFF\x1b.jsonl");
    let good = [
        OsStr::new("score"),
        OsStr::new("--model"),
        OsStr::new("model"),
        OsStr::new("--data"),
    ];
    let output = Command::new(CADFT)
        .args(good)
        .arg(bad)
        .current_dir(workspace.root())
        .env("NO_COLOR", "1")
        .output()
        .expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let outcome = Outcome {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    outcome.refused(&["not UTF-8: `bad\u{fffd}\\u{1b}.jsonl`", "hint:"]);
}
