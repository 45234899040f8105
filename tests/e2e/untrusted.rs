//! Runs from elsewhere, and surroundings that make no sense: refused at once, and nothing outside is read.

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

/// A workspace with a run of four steps, and a checkpoint at each.
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

/// Writes the manifest with one more member, as this program writes it.
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

/// Puts something else into the place of a file.
fn replace(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).expect("a file");
    make(path);
}

fn resume(workspace: &Workspace, from: &str) -> Outcome {
    let args = ["train", "--resume", from, "--out", "again"];
    let (outcome, cost) = run_measured(CADFT, workspace.root(), &args, MOST);
    assert!(cost.peak_mib < 1024, "{from}: {cost:?}");
    outcome
}

#[test]
fn a_checkpoint_of_pipes_links_and_foreign_names_is_refused_at_once() {
    let workspace = trained();
    let (outside, last) = (
        workspace.path("outside"),
        workspace.path("run/checkpoints/step-000004"),
    );
    fs::write(&outside, "precious").expect("a file");
    let absolute = outside.to_string_lossy().into_owned();
    let device = |path: &Path| symlink("/dev/zero", path).expect("a link");
    let holes = |path: &Path| {
        let file = File::create(path).expect("a file");
        file.set_len(1 << 36).expect("a file with a hole");
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let damages: [Damage<'_>; 13] = [
        (
            "a pipe as the manifest",
            &|at| replace(&at.join("training/manifest.json"), make_pipe),
            "manifest.json",
        ),
        (
            "a device as the manifest",
            &|at| replace(&at.join("training/manifest.json"), device),
            "manifest.json",
        ),
        (
            "a link to a pipe as the manifest",
            &|at| {
                make_pipe(&at.join("pipe"));
                replace(&at.join("training/manifest.json"), |path| {
                    symlink("../pipe", path).expect("a link")
                });
            },
            "manifest.json",
        ),
        (
            "a directory as the manifest",
            &|at| {
                replace(&at.join("training/manifest.json"), |path| {
                    fs::create_dir(path).expect("a directory");
                })
            },
            "manifest.json",
        ),
        (
            "holes as the manifest",
            &|at| replace(&at.join("training/manifest.json"), holes),
            "larger than 16 MiB",
        ),
        (
            "a name above",
            &|at| with_member(at, "../../../outside", &outside),
            "is not the name of a file in the checkpoint",
        ),
        (
            "a name in the middle",
            &|at| with_member(at, "training/../../../../outside", &outside),
            "is not the name of a file in the checkpoint",
        ),
        (
            "an absolute name",
            &|at| with_member(at, &absolute, &outside),
            "is not the name of a file in the checkpoint",
        ),
        (
            "a name of no file",
            &|at| with_member(at, ".", &outside),
            "is not the name of a file in the checkpoint",
        ),
        (
            "a pipe as a member",
            &|at| replace(&at.join("model.safetensors"), make_pipe),
            "model.safetensors",
        ),
        (
            "a device as a member",
            &|at| replace(&at.join("config.json"), device),
            "config.json",
        ),
        (
            "a pipe as the state",
            &|at| replace(&at.join("training/state.json"), make_pipe),
            "state.json",
        ),
        (
            "a directory as a member",
            &|at| {
                replace(&at.join("tokenizer.json"), |path| {
                    fs::create_dir(path).expect("a directory");
                })
            },
            "tokenizer.json",
        ),
    ];
    for (what, damage, part) in damages {
        let copied = workspace.path("copied");
        copy(&last, &copied);
        damage(&copied);
        let outcome = resume(&workspace, "copied");
        outcome.refused(&[part]);
        assert!(!workspace.path("again").exists(), "{what}: something was written");
        let error = checkpoint::open(&copied).expect_err(what).to_string();
        assert!(error.contains(part), "{what}: {error}");
        fs::remove_dir_all(&copied).expect("the copy");
    }
    assert_eq!(fs::read_to_string(&outside).expect("a file"), "precious");
}

#[test]
fn a_run_passes_over_a_checkpoint_whose_manifest_waits_for_somebody() {
    let workspace = trained();
    let manifest = workspace.path("run/checkpoints/step-000004/training/manifest.json");
    replace(&manifest, make_pipe);
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
