//! Resumed runs: what they accept, and what they refuse.

use super::{CADFT, train, uninterrupted};
use cadft_tests::{Workspace, runs};
use std::fs;

/// A run with checkpoints after steps 6, 12, 18 and 20.
fn with_checkpoints() -> Workspace {
    let workspace = Workspace::new();
    let more = [
        "--set",
        "checkpoint.every=6",
        "--set",
        "checkpoint.keep=9",
        "--set",
        "evaluate.every=0",
    ];
    let _ = train(&workspace, &more).succeeded();
    workspace
}

/// The settings of [`with_checkpoints`].
const SETTINGS: [&str; 2] = ["--set", "checkpoint.keep=9"];

#[test]
fn a_checkpoint_continued_elsewhere_gives_the_same_run() {
    let workspace = with_checkpoints();
    let whole = runs::metrics(&workspace.path("run"));
    for step in ["step-000006", "step-000012", "step-000020"] {
        let from = format!("run/checkpoints/{step}");
        let args = ["train", "--resume", &from, "--out", step];
        let _ = workspace.run(CADFT, &args).succeeded();
        let found = runs::metrics(&workspace.path(step));
        let last = |lines: &[String]| lines.last().map(|line| line.replace(step, "run"));
        assert_eq!(found[..found.len() - 1], whole[..whole.len() - 1], "{step}");
        assert_eq!(last(&found), last(&whole), "{step}");
        let model =
            |run: &str| fs::read(workspace.path(run).join("model/model.safetensors")).expect("a model");
        assert_eq!(model(step), model("run"), "{step}");
    }
}

/// The reference model is the one that the run began with, not the one that it continues from.
#[test]
fn objectives_with_a_reference_model_continue_exactly() {
    for name in ["asft", "iw-sft"] {
        let recipe = format!("recipe.{name}.toml");
        let workspace = Workspace::new();
        let run = |args: &[&str]| {
            let _ = workspace.run(CADFT, args).succeeded();
        };
        run(&["train", "--recipe", &recipe, "--out", "run"]);
        let whole = runs::metrics(&workspace.path("run"));
        run(&[
            "train",
            "--resume",
            "run/checkpoints/step-000010",
            "--out",
            "continued",
        ]);
        let found = runs::metrics(&workspace.path("continued"));
        assert_eq!(found[..found.len() - 1], whole[..whole.len() - 1], "{name}");
        let model =
            |run: &str| fs::read(workspace.path(run).join("model/model.safetensors")).expect("a model");
        assert_eq!(model("continued"), model("run"), "{name}");
    }
}

#[test]
fn a_finished_run_continues_to_the_same_end() {
    let workspace = Workspace::new();
    let _ = train(&workspace, &[]).succeeded();
    let first = runs::remains(&workspace.path("run"));
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    runs::assert_same(
        &runs::remains(&workspace.path("run")),
        &first,
        "continued after its end",
    );
}

#[test]
fn settings_that_would_change_the_result_are_refused_by_name() {
    let workspace = with_checkpoints();
    let before = fs::read(workspace.path("run/metrics.jsonl")).expect("metrics");
    let from = "run/checkpoints/step-000012";
    for (setting, key) in [
        ("optimizer.lr=5e-4", "`optimizer.lr`: was `0.001`, is `0.0005`"),
        ("batch.micro=4", "`batch.micro`"),
        ("run.seed=7", "`run.seed`"),
        ("schedule.steps=30", "`schedule.steps`: was `20`, is `30`"),
        ("data.max-length=80", "data.train (SHA-256"),
    ] {
        let args = ["train", "--resume", from, "--out", "other", "--set", setting];
        workspace.run(CADFT, &args).refused(&[key, "--allow-change"]);
        assert!(!workspace.path("other").exists(), "{setting}: nothing is written");
    }
    assert_eq!(
        fs::read(workspace.path("run/metrics.jsonl")).expect("metrics"),
        before
    );
    let args = [
        "train",
        "--resume",
        from,
        "--out",
        "other",
        "--set",
        "schedule.steps=23",
        "--allow-change",
    ];
    let _ = workspace.run(CADFT, &args).succeeded();
    let lines = runs::metrics(&workspace.path("other"));
    assert!(
        lines.iter().any(|line| line.starts_with("{\"step\":23,")),
        "{lines:?}"
    );
}

#[test]
fn settings_that_change_nothing_are_free() {
    let workspace = with_checkpoints();
    let moved = workspace.path("moved.jsonl");
    fs::rename(workspace.path("messages.jsonl"), &moved).expect("a rename");
    let args = [
        "train",
        "--resume",
        "run/checkpoints/step-000018",
        "--out",
        "other",
        "--set",
        "checkpoint.every=2",
        "--set",
        "evaluate.every=1",
        "--set",
        "guard.spike=0",
        "--set",
        "data.train=[\"moved.jsonl\"]",
    ];
    let _ = workspace.run(CADFT, &args).succeeded();
    let model = |run: &str| fs::read(workspace.path(run).join("model/model.safetensors")).expect("a model");
    assert_eq!(model("other"), model("run"));
}

#[test]
fn resume_says_what_it_needs() {
    let workspace = with_checkpoints();
    workspace
        .run(CADFT, &["train", "--resume"])
        .refused(&["which run", "--out DIR"]);
    workspace
        .run(CADFT, &["train", "--resume", "nowhere"])
        .refused(&["nowhere", "no checkpoint"]);
    // Going back would overwrite later checkpoints.
    workspace
        .run(CADFT, &["train", "--resume", "run/checkpoints/step-000006"])
        .refused(&["step-000012", "is later", "--out DIR"]);
    let lost = workspace.path("run/metrics.jsonl");
    fs::remove_file(&lost).expect("metrics");
    workspace
        .run(CADFT, &["train", "--resume", "run"])
        .refused(&["metrics.jsonl", "fewer lines"]);
}

#[test]
fn auto_starts_where_there_is_no_run_and_again_where_there_is_no_checkpoint() {
    let more = ["--set", "checkpoint.every=50"];
    let expected = uninterrupted(&more);
    let workspace = Workspace::new();
    let auto = [&more[..], &["--resume", "auto"]].concat();
    let _ = train(&workspace, &auto).succeeded();
    runs::assert_same(
        &runs::remains(&workspace.path("run")),
        &expected,
        "started by auto",
    );
    fs::remove_dir_all(workspace.path("run/checkpoints")).expect("checkpoints");
    train(&workspace, &auto).refused(&["already holds a run"]);
    fs::remove_dir_all(workspace.path("run/model")).expect("a model");
    let _ = train(&workspace, &auto).succeeded();
    runs::assert_same(
        &runs::remains(&workspace.path("run")),
        &expected,
        "started again by auto",
    );
}

#[test]
fn two_processes_never_share_a_run_directory() {
    let workspace = with_checkpoints();
    let lock = fs::File::options()
        .write(true)
        .open(workspace.path("run/run.lock"))
        .expect("the lock");
    lock.try_lock().expect("no process holds it");
    let resume = ["train", "--resume", "run", SETTINGS[0], SETTINGS[1]];
    workspace
        .run(CADFT, &resume)
        .refused(&["another process", "--out DIR"]);
    drop(lock);
    let _ = workspace.run(CADFT, &resume).succeeded();
}

#[test]
fn saving_the_model_in_half_precision_does_not_change_what_is_continued() {
    let half = ["--set", "checkpoint.dtype=bf16", "--set", "checkpoint.every=10"];
    let expected = uninterrupted(&half);
    let workspace = Workspace::new();
    let _ = train(&workspace, &half).succeeded();
    fs::remove_dir_all(workspace.path("run/checkpoints/step-000020")).expect("the last one");
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    runs::assert_same(
        &runs::remains(&workspace.path("run")),
        &expected,
        "from step 10 in bf16",
    );
}
