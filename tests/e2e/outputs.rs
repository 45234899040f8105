//! Outputs of commands: they replace only what they were asked to replace, and are complete or absent.

use crate::CADFT;
use crate::writers::{CONVERT, EVALUATE, GGUF, SCORE};
use cadft_tests::command::{Outcome, run_after};
use cadft_tests::runs::Started;
use cadft_tests::{Workspace, runs};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const TRAIN: [&str; 7] = [
    "train",
    "--recipe",
    "recipe.nll.toml",
    "--set",
    "schedule.steps=2",
    "--set",
    "checkpoint.every=1",
];

/// Every file below a directory, and the targets of links.
fn all(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).expect("a directory") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            found.insert(name, target.to_string_lossy().as_bytes().to_vec());
        } else if path.is_dir() {
            found.insert(format!("{name}/"), vec![]);
            found.extend((all(&path).into_iter()).map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).expect("a file"));
        }
    }
    found
}

/// Runs a command that must be refused and change nothing.
#[track_caller]
fn refused(workspace: &Workspace, args: &[&str], parts: &[&str]) {
    let before = all(workspace.root());
    workspace.run(CADFT, args).refused(parts);
    assert!(all(workspace.root()) == before, "{args:?} has changed something");
}

fn train(workspace: &Workspace, out: &str) -> Outcome {
    workspace.run(CADFT, &[&TRAIN[..], &["--out", out]].concat())
}

/// A workspace with directories that are not writable.
fn with_others() -> Workspace {
    let workspace = Workspace::new();
    let root = workspace.root();
    for directory in ["file", "logs", "parent/run", "step/checkpoints/step-000001"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    workspace.write("file/notes.txt", "mine");
    workspace.write("logs/metrics.jsonl", "mine\n");
    workspace.write("parent/run/config.resolved.toml", "mine = 1\n");
    workspace.write("step/checkpoints/step-000001/mine", "mine");
    symlink(root.join("model"), root.join("linked")).expect("a link");
    workspace
}

#[test]
fn a_directory_with_anything_in_it_does_not_become_an_output() {
    let workspace = with_others();
    let rewrite = ["rewrite", "run", "--model", "model", "--data", "messages.jsonl"];
    let commands: [(&[&str], &str); 4] = [
        (&TRAIN, "holds no run"),
        (
            &["compare", "recipe.nll.toml", "--objectives", "nll"],
            "holds no comparison",
        ),
        (&rewrite, "is not empty"),
        (&["model", "convert", "--model", "model"], "is not empty"),
    ];
    for (command, said) in commands {
        for out in [
            ".",
            "file",
            "logs",
            "parent",
            "parent/run",
            "step",
            "model",
            "linked",
        ] {
            let args = [command, &["--out", out]].concat();
            refused(&workspace, &args, &[said, "hint:", "--out"]);
        }
        let args = [command, &["--out", "model"]].concat();
        refused(
            &workspace,
            &args,
            &["`config.json`, `model.safetensors`, `tokenizer.json`"],
        );
    }
}

#[test]
fn a_directory_that_is_new_or_empty_or_was_hardly_begun_becomes_a_run() {
    let workspace = Workspace::new();
    let root = workspace.root();
    for directory in ["empty", "begun", "elsewhere"] {
        fs::create_dir(root.join(directory)).expect("a directory");
    }
    symlink(root.join("elsewhere"), root.join("link")).expect("a link");
    workspace.write("begun/run.lock", "");
    workspace.write("begun/.cadft-config.resolved.toml.a1b2c3.tmp", "cut");
    workspace.write(
        "begun/environment.json",
        "{\"format_version\": 1, \"cadft\": \"0.1.0\"}",
    );
    for out in ["new/er", "empty", "begun", "link"] {
        let _ = train(&workspace, out).succeeded();
        assert!(
            workspace.path(out).join("model/model.safetensors").is_file(),
            "{out}"
        );
        refused(
            &workspace,
            &[&TRAIN[..], &["--out", out]].concat(),
            &["already holds a run", "--resume"],
        );
        let rest = fs::read_dir(workspace.path(out)).expect("the run");
        let rest = rest.filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            name.to_string_lossy().starts_with('.')
        });
        assert_eq!(rest.count(), 0, "{out}: temporary files are left");
    }
}

#[test]
fn the_model_that_a_run_begins_with_is_not_written_over_nor_rotated_away() {
    let workspace = Workspace::new();
    let _ = train(&workspace, "run").succeeded();
    symlink(workspace.path("run/model"), workspace.path("linked")).expect("a link");
    for model in ["run/model", "linked", "run/checkpoints/step-000002"] {
        let set = format!("model.path={model}");
        let args = ["train", "--resume", "run", "--allow-change", "--set", &set];
        refused(
            &workspace,
            &args,
            &["`model.path`", "which this run writes", "hint:"],
        );
    }
}

#[test]
fn what_is_read_is_not_written_to() {
    let workspace = Workspace::new();
    let _ = train(&workspace, "run").succeeded();
    fs::hard_link(workspace.path("messages.jsonl"), workspace.path("again.jsonl")).expect("a link");
    symlink(workspace.path("model"), workspace.path("linked")).expect("a link");
    let data = ["--model", "model", "--data", "messages.jsonl"];
    let commands: [(Vec<&str>, &[&str]); 5] = [
        (
            [&["score"], &data[..]].concat(),
            &["messages.jsonl", "again.jsonl", "linked/config.json"],
        ),
        (
            [&["evaluate", "--generate"], &data[..]].concat(),
            &["messages.jsonl", "model/tokenizer.json"],
        ),
        (
            vec!["data", "convert", "--data", "messages.jsonl", "--to", "messages"],
            &["messages.jsonl", "./again.jsonl"],
        ),
        (
            vec!["model", "convert", "--model", "model", "--to", "gguf"],
            &["model/model.safetensors", "linked/config.json"],
        ),
        (
            vec!["report", "run"],
            &["run/metrics.jsonl", "run/config.resolved.toml"],
        ),
    ];
    for (command, outs) in commands {
        for out in outs {
            let args = [&command[..], &["--out", out]].concat();
            refused(&workspace, &args, &["is read by this command", "hint:"]);
        }
        let args = [&command[..], &["--out", "absent/out.jsonl"]].concat();
        refused(
            &workspace,
            &args,
            &["cannot write `absent/out.jsonl`", "its directory must be there"],
        );
        let args = [&command[..], &["--out", "/dev/null"]].concat();
        if !command.contains(&"convert") || command.contains(&"gguf") {
            refused(
                &workspace,
                &args,
                &["cannot write `/dev/null`", "not a regular file"],
            );
        }
    }
}

#[test]
fn nothing_of_a_run_goes_through_a_link() {
    let workspace = Workspace::new();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").expect("a file");
    fs::create_dir(elsewhere.path().join("directory")).expect("a directory");
    let begin = [
        &TRAIN[..],
        &[
            "--out",
            "run",
            "--set",
            "schedule.steps=4",
            "--set",
            "checkpoint.keep=9",
        ],
    ]
    .concat();
    let _ = workspace.run(CADFT, &begin).succeeded();
    let run = workspace.path("run");
    for step in ["step-000003", "step-000004"] {
        fs::remove_dir_all(run.join("checkpoints").join(step)).ok();
    }
    let before = all(elsewhere.path());
    for (name, target) in [
        ("metrics.jsonl", "victim"),
        ("samples.jsonl", "victim"),
        ("history.jsonl", "victim"),
        ("run.lock", "absent"),
        ("checkpoints", "directory"),
        ("tensorboard", "directory"),
    ] {
        let place = run.join(name);
        let aside = workspace.path("aside");
        let was_there = fs::rename(&place, &aside).is_ok();
        symlink(elsewhere.path().join(target), &place).expect("a link");
        let tensorboard = ["--set", "log.tensorboard=true"];
        let outcome = workspace.run(CADFT, &[&["train", "--resume", "run"], &tensorboard[..]].concat());
        assert_ne!(outcome.code, Some(0), "{name}");
        assert!(outcome.stderr.contains("error: "), "{name}: {}", outcome.stderr);
        assert!(all(elsewhere.path()) == before, "{name} was followed");
        fs::remove_file(&place).expect("the link");
        if was_there {
            fs::rename(&aside, &place).expect("what was there");
        }
    }
    // A file that is written replaces a link.
    for name in ["config.resolved.toml", "model"] {
        let place = run.join(name);
        let aside = workspace.path(&format!("aside.{name}"));
        fs::rename(&place, &aside).expect("what was there");
    }
    let recipe = fs::read(workspace.path("aside.config.resolved.toml")).expect("the recipe");
    fs::write(elsewhere.path().join("recipe.toml"), &recipe).expect("the recipe");
    symlink(
        elsewhere.path().join("recipe.toml"),
        run.join("config.resolved.toml"),
    )
    .expect("a link");
    symlink(elsewhere.path().join("directory"), run.join("model")).expect("a link");
    let before = all(elsewhere.path());
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    assert!(all(elsewhere.path()) == before, "a link was followed");
    assert!(run.join("model/config.json").is_file() && !run.join("model").is_symlink());
}

/// Commands that write one file, with its name.
fn writers() -> Vec<(Vec<&'static str>, &'static str)> {
    [
        (SCORE, "scores.jsonl"),
        (SCORE, "scores.parquet"),
        (CONVERT, "rows.jsonl"),
        (CONVERT, "rows.json.gz"),
        (CONVERT, "rows.parquet"),
        (EVALUATE, "answers.jsonl"),
        (GGUF, "model.gguf"),
        (&["report", "run", "--out"], "page.html"),
    ]
    .map(|(command, out)| ([command, &[out]].concat(), out))
    .to_vec()
}

/// A workspace with a run, in which every file that a command writes has old content.
fn with_old_files() -> Workspace {
    let workspace = Workspace::new();
    let _ = train(&workspace, "run").succeeded();
    let question = "{\"prompt\": \"3 + 4?\", \"completion\": \"7\", \"answer\": \"7\"}\n";
    workspace.write("questions.jsonl", &question.repeat(2));
    for (_, out) in writers() {
        workspace.write(out, "old");
    }
    workspace
}

#[test]
fn a_file_that_cannot_be_written_keeps_its_old_bytes_and_leaves_nothing_beside_it() {
    let workspace = with_old_files();
    let before = all(workspace.root());
    for (args, out) in writers() {
        let outcome = run_after("ulimit -f 0", CADFT, workspace.root(), &args);
        let stderr = outcome.stderr;
        assert_eq!(outcome.code, Some(1), "{out}: {stderr}");
        assert!(
            stderr.contains(&format!("cannot write `{out}`")),
            "{out}: {stderr}"
        );
        assert!(
            !stderr.contains("panicked") && !stderr.contains("cannot read"),
            "{out}: {stderr}"
        );
        assert!(all(workspace.root()) == before, "{out}: something has changed");
    }
}

#[test]
fn a_link_is_replaced_by_the_file_and_what_it_points_to_stays() {
    let workspace = with_old_files();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").expect("a file");
    for (args, out) in writers() {
        fs::remove_file(workspace.path(out)).expect("the old file");
        symlink(&victim, workspace.path(out)).expect("a link");
        let _ = workspace.run(CADFT, &args).succeeded();
        assert_eq!(fs::read_to_string(&victim).expect("a file"), "precious", "{out}");
        assert!(!workspace.path(out).is_symlink(), "{out}");
    }
}

/// A mask of the shell, and the modes that it leaves of files and of directories.
const UMASKS: [(&str, u32, u32); 2] = [("umask 022", 0o644, 0o755), ("umask 077", 0o600, 0o700)];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn a_new_file_has_the_mode_of_the_umask_and_an_old_one_keeps_its_own() {
    let workspace = with_old_files();
    for (args, out) in writers() {
        let path = workspace.path(out);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a file");
        let _ = workspace.run(CADFT, &args).succeeded();
        assert_eq!(mode(&path), 0o640, "{out}");
        for (umask, file, _) in UMASKS {
            fs::remove_file(&path).expect("the file");
            let _ = run_after(umask, CADFT, workspace.root(), &args).succeeded();
            assert_eq!(mode(&path), file, "{umask}: {out}");
        }
    }
}

#[test]
fn a_new_directory_and_all_within_have_the_modes_of_the_umask() {
    let workspace = Workspace::new();
    let more = ["--set", "log.tensorboard=true", "--set", "data.cache=tokens"];
    for (umask, file, directory) in UMASKS {
        for (args, out) in [
            ([&TRAIN[..], &more, &["--out", "run"]].concat(), "run"),
            (vec!["report", "run"], "run"),
            (
                vec!["model", "convert", "--model", "run", "--out", "copy"],
                "copy",
            ),
            (vec!["man", "--out", "pages"], "pages"),
        ] {
            let _ = run_after(umask, CADFT, workspace.root(), &args).succeeded();
            assert_eq!(mode(&workspace.path(out)), directory, "{umask}: {out}");
        }
        for out in ["run", "copy", "pages", "tokens"] {
            for name in all(&workspace.path(out)).keys() {
                let expected = if name.ends_with('/') { directory } else { file };
                let found = mode(&workspace.path(out).join(name));
                assert_eq!(found, expected, "{umask}: {out}/{name}");
            }
            fs::remove_dir_all(workspace.path(out)).expect("a directory");
        }
    }
}

#[test]
fn a_writer_that_is_killed_or_has_company_leaves_the_old_bytes_or_the_new_ones() {
    let workspace = with_old_files();
    for (args, out) in writers() {
        let path = workspace.path(out);
        let _ = workspace.run(CADFT, &args).succeeded();
        let new = fs::read(&path).expect("the new file");
        for millis in [5, 15, 25, 35, 50] {
            fs::write(&path, "old").expect("the old file");
            let writer = Started::new(CADFT, workspace.root(), &args);
            sleep(Duration::from_millis(millis));
            writer.kill();
            let found = fs::read(&path).expect("a file");
            assert!(found == b"old" || found == new, "{out}: after {millis} ms");
        }
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| workspace.run(CADFT, &args).succeeded());
            }
        });
        assert!(fs::read(&path).expect("a file") == new, "{out}: two at once");
    }
}

#[test]
fn answers_that_are_lost_are_a_failure_and_the_run_is_none_the_worse() {
    let workspace = Workspace::new();
    let answers: [&[&str]; 4] = [
        &["recipe", "show", "nll"],
        &["score", "--quiet", "--model", "model", "--data", "messages.jsonl"],
        &["model", "inspect", "model", "--json"],
        &["--help"],
    ];
    for lost in [">/dev/full", ">&-"] {
        for args in answers.iter().take(if lost == ">&-" { 3 } else { 4 }) {
            let outcome = run_after(lost, CADFT, workspace.root(), args);
            assert_eq!(outcome.code, Some(1), "{args:?} {lost}: {}", outcome.stderr);
        }
        let out = if lost == ">&-" { "closed" } else { "full" };
        let args = [&TRAIN[..], &["--json", "--out", out]].concat();
        let outcome = run_after(lost, CADFT, workspace.root(), &args);
        assert_eq!(outcome.code, Some(1), "{lost}: {}", outcome.stderr);
        assert!(
            outcome
                .stderr
                .contains("warning: cannot write to standard output")
                && outcome.stderr.contains("error: the run has ended"),
            "{}",
            outcome.stderr
        );
        assert!(workspace.path(out).join("model/model.safetensors").is_file());
        assert_eq!(runs::checkpoints(&workspace.path(out)).len(), 2);
    }
    // A reader that stops early is not a failure; neither is a closed output that was not asked for.
    for (lost, args) in [("| head -c 1", &["--json"][..]), (">&-", &[])] {
        let out = if args.is_empty() { "quiet" } else { "head" };
        let train = [&TRAIN[..], args, &["--out", out]].concat().join(" ");
        let script = format!("set -o pipefail 2>/dev/null; \"$0\" {train} {lost}");
        let outcome = cadft_tests::command::run("bash", workspace.root(), &["-c", &script, CADFT]);
        assert_eq!(outcome.code, Some(0), "{lost}: {}", outcome.stderr);
    }
}

#[test]
fn errors_that_nobody_can_be_shown_end_nothing() {
    let workspace = Workspace::new();
    for lost in ["2>/dev/full", "2>&-"] {
        let out = if lost == "2>&-" { "closed" } else { "full" };
        let args = [&TRAIN[..], &["-v", "--out", out]].concat();
        let outcome = run_after(lost, CADFT, workspace.root(), &args);
        assert_eq!(outcome.code, Some(0), "{lost}");
        assert!(workspace.path(out).join("model/model.safetensors").is_file());
    }
}
