//! Full disks, and directories that are not writable.

use super::{CADFT, args, train, uninterrupted};
use cadft_tests::command::run_on_a_full_disk;
use cadft_tests::{Workspace, runs};
use std::fs;

#[test]
fn a_full_disk_is_told_and_the_run_goes_on_exactly_when_there_is_space() {
    let more = ["--set", "checkpoint.every=5"];
    let expected = uninterrupted(&more);
    let workspace = Workspace::new();
    let run = workspace.path("run");
    let resume = args(&[&more[..], &["--resume", "auto"]].concat());
    // The weights fit on the disk, the moments do not.
    let outcome = run_on_a_full_disk(CADFT, workspace.root(), 150, &resume);
    let stderr = outcome.stderr;
    assert_eq!(outcome.code, Some(1), "{stderr}");
    assert!(
        stderr.contains("could not be written") && stderr.contains("optimizer.safetensors"),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(
        !stderr.contains("still there"),
        "there is none before it: {stderr}"
    );
    assert_eq!(
        runs::checkpoints(&run).len(),
        0,
        "nothing half-written is called a checkpoint"
    );
    // The model fits: it is the most important result of the run.
    assert!(stderr.contains("the trained model is in `run/model`"), "{stderr}");
    let weights = fs::read(run.join("model/model.safetensors")).expect("the trained model");
    assert!(
        weights == expected["model/model.safetensors"],
        "the model is another one"
    );

    fs::remove_dir_all(run.join("model")).expect("the model");
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
    let _ = run_on_a_full_disk(CADFT, workspace.root(), 150, &["train", "--resume", "run"]);
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
fn a_model_that_does_not_fit_is_one_error_and_leaves_nothing() {
    let workspace = Workspace::new();
    let adapter = ["--set", "adapter.rank=2", "--set", "schedule.steps=1"];
    let _ = train(&workspace, &adapter).succeeded();
    let entries = || fs::read_dir(workspace.root()).expect("the workspace").count();
    let before = entries();
    let convert = ["model", "convert", "--model", "model", "--out", "new"];
    let gguf = [
        "model", "convert", "--model", "model", "--to", "gguf", "--out", "new",
    ];
    let merge = [
        "model",
        "merge",
        "--model",
        "model",
        "--adapter",
        "run/model",
        "--out",
        "new",
    ];
    for args in [&convert[..], &gguf, &merge] {
        // The tokenizer fits on the disk, the weights do not.
        let outcome = run_on_a_full_disk(CADFT, workspace.root(), 40, args);
        let stderr = outcome.stderr;
        assert_eq!(outcome.code, Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("cannot write `") && stderr.contains("new"),
            "{args:?}: {stderr}"
        );
        assert!(
            !stderr.contains("panicked") && stderr.matches("cannot write").count() == 1,
            "{args:?}: {stderr}"
        );
        assert_eq!(entries(), before, "{args:?} left something behind");
    }
    // The old file does not change.
    let _ = workspace.run(CADFT, &gguf).succeeded();
    let weights = || fs::read(workspace.path("new")).expect("weights");
    let old = weights();
    let outcome = run_on_a_full_disk(CADFT, workspace.root(), 40, &gguf);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(weights() == old, "the model that was there has changed");
}

#[test]
fn a_final_model_that_does_not_fit_is_one_error_and_leaves_nothing() {
    let workspace = Workspace::new();
    let run = [
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--out",
        "run",
        "--set",
        "schedule.steps=1",
    ];
    let outcome = run_on_a_full_disk(CADFT, workspace.root(), 40, &run);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot write `"), "{}", outcome.stderr);
    let left: Vec<_> = fs::read_dir(workspace.path("run"))
        .expect("the run")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("model") || name.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
