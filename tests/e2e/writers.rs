//! Commands that write directories or several files. After a full disk, a directory that is not writable, a link, a
//! kill, or two writers at once, either the old or the new files are complete.

use crate::CADFT;
use cadft_model::checkpoint::load;
use cadft_tests::Workspace;
use cadft_tests::command::{Outcome, run_after, run_without_privileges};
use cadft_tests::runs::Started;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Commands that write a directory, without its name.
const DIRECTORIES: [&[&str]; 6] = [
    &[
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--set",
        "schedule.steps=2",
        "--out",
    ],
    &[
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--set",
        "schedule.steps=2",
        "--set",
        "adapter.rank=2",
        "--out",
    ],
    &["compare", "recipe.nll.toml", "--objectives", "nll", "--out"],
    &["model", "convert", "--model", "model", "--out"],
    &[
        "model",
        "merge",
        "--model",
        "model",
        "--adapter",
        "adapter/model",
        "--out",
    ],
    &[
        "rewrite",
        "run",
        "--model",
        "model",
        "--data",
        "messages.jsonl",
        "--max-new-tokens",
        "2",
        "--out",
    ],
];

/// A command that writes one file, without its name.
pub(crate) const SCORE: &[&str] = &[
    "score",
    "--quiet",
    "--model",
    "model",
    "--data",
    "messages.jsonl",
    "--out",
];
pub(crate) const CONVERT: &[&str] = &[
    "data",
    "convert",
    "--data",
    "messages.jsonl",
    "--to",
    "messages",
    "--out",
];
pub(crate) const EVALUATE: &[&str] = &[
    "evaluate",
    "--model",
    "model",
    "--data",
    "questions.jsonl",
    "--generate",
    "--max-new-tokens",
    "2",
    "--out",
];
pub(crate) const GGUF: &[&str] = &["model", "convert", "--model", "model", "--to", "gguf", "--out"];

/// Commands that write a file, without its name.
const FILES: [&[&str]; 6] = [
    SCORE,
    CONVERT,
    EVALUATE,
    GGUF,
    &["report", "adapter", "--out"],
    &["rewrite", "export", "rewritten", "--out"],
];

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let question = "{\"prompt\": \"3 + 4?\", \"completion\": \"7\", \"answer\": \"7\"}\n";
    workspace.write("questions.jsonl", question);
    let _ = workspace
        .run(CADFT, &[DIRECTORIES[1], &["adapter"]].concat())
        .succeeded();
    let _ = workspace
        .run(CADFT, &[DIRECTORIES[5], &["rewritten"]].concat())
        .succeeded();
    workspace
}

/// The file name for a command.
fn name_of(command: &[&str]) -> &'static str {
    match command[1] {
        "export" | "convert" if command.contains(&"gguf") => "out.gguf",
        _ if command[0] == "report" => "out.html",
        _ => "out.jsonl",
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Asserts that every `config.json` below a directory belongs to a complete model or adapter. What has a temporary name may be
/// incomplete.
fn assert_models_are_whole(directory: &Path, what: &str) {
    for name in names(directory) {
        if name.starts_with('.') && name.ends_with(".partial") {
            continue;
        }
        let path = directory.join(&name);
        if path.is_dir() && !path.is_symlink() {
            assert_models_are_whole(&path, what);
        } else if name == "model.safetensors" {
            let loaded = load(directory, &burn::tensor::Device::flex());
            assert!(loaded.is_ok(), "{what}: {}", directory.display());
        } else if name == "adapter_model.safetensors" {
            assert!(directory.join("adapter_config.json").is_file(), "{what}");
        }
    }
}

#[track_caller]
fn assert_failed(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code, Some(1), "{what}: {}", outcome.stderr);
    assert!(outcome.stderr.contains("error: "), "{what}: {}", outcome.stderr);
    assert!(!outcome.stderr.contains("panicked"), "{what}: {}", outcome.stderr);
}

#[test]
fn a_directory_that_cannot_be_written_is_told_before_the_work() {
    let workspace = workspace();
    let closed = workspace.path("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::write(closed.join("out.jsonl"), "old").expect("a file");
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).expect("a directory");
    for command in DIRECTORIES.iter().chain(&FILES) {
        for out in ["closed/new", "closed/out.jsonl"] {
            let is_directory = DIRECTORIES.contains(command);
            if is_directory && out == "closed/out.jsonl" {
                continue;
            }
            let outcome = run_without_privileges(CADFT, workspace.root(), &[command, &[out][..]].concat());
            let what = format!("{command:?} {out}");
            if outcome.code != Some(2) {
                assert_failed(&outcome, &what);
            }
            assert!(outcome.stderr.contains("closed/"), "{what}: {}", outcome.stderr);
            assert!(!outcome.stderr.contains("step 1"), "{what}: {}", outcome.stderr);
            assert_eq!(names(&closed), BTreeSet::from(["out.jsonl".to_owned()]), "{what}");
            assert_eq!(
                fs::read_to_string(closed.join("out.jsonl")).expect("a file"),
                "old",
                "{what}"
            );
        }
    }
}

#[test]
fn a_full_disk_leaves_no_part_of_a_directory() {
    let workspace = workspace();
    for command in DIRECTORIES {
        let args = [command, &["new"]].concat();
        let before = names(workspace.root());
        let outcome = run_after("ulimit -f 4", CADFT, workspace.root(), &args);
        let what = format!("{command:?}");
        assert_failed(&outcome, &what);
        let new = workspace.path("new");
        if command[0] == "train" || command[0] == "compare" {
            // The logs of a run remain, and its model is complete or absent.
            assert_models_are_whole(&new, &what);
            fs::remove_dir_all(&new).expect("the run");
        }
        assert_eq!(names(workspace.root()), before, "{what}");
    }
}

#[test]
fn a_directory_whose_writer_is_killed_is_whole_or_absent_and_can_be_written_again() {
    let workspace = workspace();
    for command in DIRECTORIES {
        let args = [command, &["new"]].concat();
        let new = workspace.path("new");
        for millis in [5, 20, 40, 80] {
            let writer = Started::new(CADFT, workspace.root(), &args);
            sleep(Duration::from_millis(millis));
            writer.kill();
            let what = format!("{command:?} after {millis} ms");
            if new.exists() {
                assert_models_are_whole(&new, &what);
            }
            if new.exists() && command[0] != "compare" && command[0] != "train" {
                assert!(!names(&new).is_empty(), "{what}");
            }
            if new.exists() {
                fs::remove_dir_all(&new).expect("the directory");
            }
        }
        let _ = workspace.run(CADFT, &args).succeeded();
        fs::remove_dir_all(&new).expect("the directory");
    }
}

#[test]
fn two_writers_of_one_directory_leave_one_that_is_whole() {
    let workspace = workspace();
    for command in DIRECTORIES {
        let args = [command, &["new"]].concat();
        let codes: Vec<_> = std::thread::scope(|scope| {
            let runs = [(); 2].map(|()| scope.spawn(|| workspace.run(CADFT, &args)));
            runs.into_iter()
                .map(|run| run.join().expect("an outcome"))
                .collect()
        });
        let what = format!("{command:?}");
        let done = codes.iter().filter(|outcome| outcome.code == Some(0)).count();
        assert!(done >= 1, "{what}: {codes:?}");
        for outcome in &codes {
            assert!(!outcome.stderr.contains("panicked"), "{what}: {}", outcome.stderr);
        }
        let new = workspace.path("new");
        assert_models_are_whole(&new, &what);
        let left = names(workspace.root());
        let rest = left
            .iter()
            .find(|name| name.starts_with(".new") || name.ends_with(".partial"));
        assert_eq!(rest, None, "{what}");
        fs::remove_dir_all(&new).expect("the directory");
    }
}

#[test]
fn a_link_is_not_written_through() {
    let workspace = workspace();
    let elsewhere = tempfile::tempdir().expect("a directory");
    fs::create_dir(elsewhere.path().join("directory")).expect("a directory");
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").expect("a file");
    for command in FILES {
        let out = name_of(command);
        symlink(&victim, workspace.path(out)).expect("a link");
        let _ = workspace.run(CADFT, &[command, &[out]].concat()).succeeded();
        assert_eq!(
            fs::read_to_string(&victim).expect("a file"),
            "precious",
            "{command:?}"
        );
        assert!(!workspace.path(out).is_symlink(), "{command:?}");
        fs::remove_file(workspace.path(out)).expect("the file");
    }
    for command in DIRECTORIES {
        // With a dangling link, the directory would be made somewhere else.
        symlink(elsewhere.path().join("absent"), workspace.path("dangling")).expect("a link");
        let outcome = workspace.run(CADFT, &[command, &["dangling"]].concat());
        assert!(
            outcome.code == Some(0) || outcome.stderr.contains("error: "),
            "{command:?}: {}",
            outcome.stderr
        );
        let found = names(elsewhere.path());
        assert!(
            !found.contains("absent") || command[0] == "train" || command[0] == "compare",
            "{command:?}: {found:?}"
        );
        let _ = fs::remove_dir_all(elsewhere.path().join("absent"));
        let place = workspace.path("dangling");
        if place.is_symlink() {
            fs::remove_file(place).expect("the link");
        } else if place.exists() {
            fs::remove_dir_all(place).expect("the directory");
        }
    }
}

#[test]
fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path("closed")).expect("a directory");
    fs::set_permissions(workspace.path("closed"), Permissions::from_mode(0o555)).expect("a directory");
    workspace.write("file", "");
    let (closed, file) = (workspace.path("closed"), workspace.path("file/cache"));
    let model = |cache: &Path, out: &str| {
        let cache = format!("CADFT_CACHE={}", cache.display());
        let train = [&[cache.as_str(), CADFT], DIRECTORIES[0], &[out]].concat();
        let outcome = run_without_privileges("env", workspace.root(), &train).succeeded();
        let bytes = fs::read(workspace.path(out).join("model/model.safetensors")).expect("a model");
        (outcome.stderr, bytes)
    };
    let (_, expected) = model(&workspace.path("open"), "expected");
    for (cache, out) in [(&closed, "one"), (&file, "two")] {
        let (said, found) = model(cache, out);
        assert!(said.contains("tokenised data are not kept"), "{said}");
        assert!(found == expected, "{out}");
    }
    let full = run_after(
        "ulimit -f 4",
        CADFT,
        workspace.root(),
        &["data", "stats", "--model", "model", "--data", "messages.jsonl"],
    );
    let _ = full.succeeded();
}
