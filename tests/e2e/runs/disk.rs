//! Disks that are full, and directories that cannot be written.

use super::{CADFT, args, train, uninterrupted};
use cadft_tests::{Workspace, runs};
use std::fs;
use std::process::{Command, Output};

/// Runs the command with files limited to `kib`, a disk that is full as far as a large file is concerned: a write beyond
/// it fails, as `SIGXFSZ` is ignored.
fn limited(workspace: &Workspace, kib: usize, args: &[&str]) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", 2 * kib);
    Command::new("sh")
        .args(["-c", &script, CADFT])
        .args(args)
        .current_dir(workspace.root())
        .env("NO_COLOR", "1")
        .output()
        .expect("a shell")
}

#[test]
fn a_full_disk_is_told_and_the_run_goes_on_exactly_when_there_is_space() {
    let more = ["--set", "checkpoint.every=5"];
    let expected = uninterrupted(&more);
    let workspace = Workspace::new();
    let run = workspace.path("run");
    let resume = args(&[&more[..], &["--resume", "auto"]].concat());
    // The weights fit, the moments do not.
    let outcome = limited(&workspace, 150, &resume);
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("could not be written") && stderr.contains("optimizer.safetensors"),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(
        runs::checkpoints(&run).len(),
        0,
        "nothing half-written is called a checkpoint"
    );

    let _ = workspace.run(CADFT, &resume).succeeded();
    runs::assert_same(&runs::remains(&run), &expected, "after a full disk");
}

#[test]
fn a_full_disk_leaves_the_checkpoints_before_it() {
    let workspace = Workspace::new();
    let run = workspace.path("run");
    let more = ["--set", "checkpoint.every=5", "--set", "checkpoint.keep=9"];
    let _ = train(&workspace, &more).succeeded();
    for step in ["step-000014", "step-000015", "step-000020"] {
        fs::remove_dir_all(run.join("checkpoints").join(step)).ok();
    }
    let _ = limited(&workspace, 150, &["train", "--resume", "run"]);
    let kept: Vec<_> = runs::checkpoints(&run);
    assert!(kept.iter().any(|path| path.ends_with("step-000010")), "{kept:?}");
    assert!(!kept.iter().any(|path| path.ends_with("step-000015")), "{kept:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named_before_anything_is_trained() {
    let workspace = Workspace::new();
    workspace.write("file", "not a directory");
    let outcome = workspace.run(
        CADFT,
        &["train", "--recipe", "recipe.nll.toml", "--out", "file/run"],
    );
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("file/run"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("step 1/"), "{}", outcome.stderr);
}

#[test]
fn checkpoints_that_cannot_be_written_are_told_and_the_run_ends_with_an_error() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path("run")).expect("a directory");
    workspace.write("run/checkpoints", "in the way");
    let outcome = train(&workspace, &["--set", "checkpoint.every=5"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("could not be written"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("run/checkpoints"), "{}", outcome.stderr);
}
