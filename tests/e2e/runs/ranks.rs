//! Runs on several ranks write the same bytes as on one rank.

use super::CADFT;
use super::kill::steps_of;
use crate::study::Study;
use cadft_tests::command::{Outcome, run_with, steps};
use cadft_tests::runs::{self, Started};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A run with rounds of rewriting, evaluation by likelihood and by answers, and a best checkpoint.
pub(super) const RUN: [&str; 21] = [
    "train",
    "--recipe",
    "recipe.toml",
    "--out",
    "run",
    "--set",
    "batch.shards=4",
    "--set",
    "checkpoint.every=2",
    "--set",
    "checkpoint.keep=2",
    "--set",
    "checkpoint.best=accuracy",
    "--set",
    "data.eval=[\"train.jsonl\"]",
    "--set",
    "evaluate.answers=6",
    "--set",
    "evaluate.every=5",
    "--set",
    "evaluate.max-new-tokens=24",
];

pub(super) type Remains = BTreeMap<String, Vec<u8>>;

fn on(ranks: &str, more: &[&str]) -> Outcome {
    let study = Study::new();
    study.cadft(&[&RUN[..], &["--ranks", ranks], more].concat())
}

/// The files of the run on one rank.
pub(super) fn alone() -> Remains {
    let study = Study::new();
    let _ = study.cadft(&RUN).succeeded();
    let remains = runs::remains(&study.path("run"));
    assert!(remains.contains_key("rewrites.jsonl"), "{:?}", remains.keys());
    let of_shards = |name: &&String| name.contains("/training/optimizer-");
    assert_eq!(
        remains.keys().filter(of_shards).count(),
        4,
        "{:?}",
        remains.keys()
    );
    remains
}

/// Waits until the metrics of the run have `steps` steps.
pub(super) fn wait_for_steps(study: &Study, steps: usize) {
    let begun = Instant::now();
    while steps_of(&study.path("run")) < steps {
        assert!(begun.elapsed() < Duration::from_secs(60), "no step {steps}");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn threads_leave_the_bytes_of_one_rank_however_many_continue_it() {
    let expected = alone();
    for ranks in ["2", "4"] {
        let study = Study::new();
        let _ = study.cadft(&[&RUN[..], &["--ranks", ranks]].concat()).succeeded();
        runs::assert_same(
            &runs::remains(&study.path("run")),
            &expected,
            &format!("{ranks} ranks"),
        );
    }
    // Four ranks start, two continue through the first round, one finishes.
    let study = Study::new();
    for (ranks, steps) in [("4", 3), ("2", 8)] {
        let run = Started::new(
            CADFT,
            study.root(),
            &[&RUN[..], &["--resume", "auto", "--ranks", ranks]].concat(),
        );
        wait_for_steps(&study, steps);
        assert_eq!(run.terminate(), Some(130));
    }
    let _ = study
        .cadft(&[&RUN[..], &["--resume", "auto"]].concat())
        .succeeded();
    runs::assert_same(&runs::remains(&study.path("run")), &expected, "4, 2 and 1 ranks");
}

#[test]
fn shards_that_cannot_be_shared_out_are_refused() {
    on("3", &[]).refused(&[
        "`batch.shards`: 4 shards cannot be shared out among 3 ranks",
        "run on 1 or 2 or 4 ranks, or set `batch.shards = 3`",
    ]);
    on("3", &["--set", "batch.shards=0"]).refused(&["`batch.shards`"]);
}

#[test]
fn the_shards_of_a_run_are_on_record() {
    let study = Study::new();
    let _ = study
        .cadft(&[
            "train",
            "--recipe",
            "recipe.toml",
            "--out",
            "run",
            "--ranks",
            "2",
            "--set",
            "schedule.steps=2",
            "--set",
            "checkpoint.every=1",
        ])
        .succeeded();
    assert!(study.read("run/config.resolved.toml").contains("\nshards = 2\n"));
    for step in steps(&study.read("run/metrics.jsonl")) {
        let ranks = &step["ranks"];
        assert_eq!(ranks["count"], 2, "{step}");
        let number = |key: &str| ranks[key].as_f64().unwrap_or(f64::NAN);
        assert!(number("wait_secs") > 0.0, "{step}");
        assert!((1.0..2.0).contains(&number("imbalance")), "{step}");
    }
    let other = [
        "train",
        "--resume",
        "run",
        "--set",
        "batch.shards=1",
        "--set",
        "schedule.steps=3",
    ];
    study.cadft(&other).refused(&["`batch.shards`: was `2`, is `1`"]);
    // The moments of two shards equal those of one.
    let _ = study
        .cadft(&[&other[..], &["--allow-change"]].concat())
        .succeeded();
    let alone = steps(&study.read("run/metrics.jsonl")).pop().expect("a step");
    assert!(alone["step"] == 3 && alone.get("ranks").is_none(), "{alone}");
}

#[test]
fn gradients_that_only_owners_keep_leave_the_bytes_of_one_rank() {
    let stage = [
        "--set",
        "batch.zero-stage=2",
        "--set",
        "model.recompute=blocks",
        "--set",
        "schedule.steps=6",
    ];
    let remains = |ranks: &str| {
        let study = Study::new();
        let args = [&RUN[..], &stage, &["--ranks", ranks]].concat();
        let _ = study.cadft(&args).succeeded();
        runs::remains(&study.path("run"))
    };
    runs::assert_same(&remains("4"), &remains("1"), "stage 2 on 4 ranks");
    on("4", &["--set", "batch.zero-stage=2"]).refused(&["`batch.zero-stage`", "model.recompute"]);
    on("4", &["--set", "batch.zero-stage=3"]).refused(&["`batch.zero-stage`", "3 is no stage: 1 or 2"]);
}

#[test]
fn the_memory_of_a_rank_is_in_the_plan() {
    let planned = |more: &[&str]| -> f64 {
        let outcome = on("4", &[more, &["--dry-run", "--json"]].concat()).succeeded();
        let plan: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("a plan");
        assert_eq!(plan["ranks"], 4);
        plan["memory_mib"].as_f64().expect("MiB")
    };
    let blocks = ["--set", "model.recompute=blocks"];
    let two = planned(&[&blocks[..], &["--set", "batch.zero-stage=2"]].concat());
    assert!(two < planned(&blocks), "stage 2 takes less");
}

#[test]
fn processes_that_cannot_talk_are_refused() {
    let study = Study::new();
    let variables = [("OMPI_COMM_WORLD_SIZE", "2")];
    if cfg!(feature = "mpi") {
        run_with(
            CADFT,
            study.root(),
            &[&RUN[..], &["--ranks", "2"]].concat(),
            &variables,
        )
        .refused(&["`--ranks` starts threads", "leave `--ranks` out under `mpirun`"]);
    } else {
        run_with(CADFT, study.root(), &RUN, &variables).refused(&[
            "was built without MPI",
            "cargo build --release -p cadft --features mpi",
        ]);
    }
}

#[test]
fn doctor_says_what_ranks_talk_by() {
    let study = Study::new();
    let outcome = study.cadft(&["doctor", "--json"]).succeeded();
    let found: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("a diagnosis");
    let ranks = &found["ranks"];
    assert!(
        ranks["threads"].as_u64().is_some_and(|threads| threads > 0),
        "{ranks}"
    );
    assert!(ranks.get("launched_by").is_none(), "{ranks}");
    let text = study.cadft(&["doctor"]).succeeded().stdout;
    let wanted = if cfg!(feature = "mpi") {
        let library = ranks["processes"]["found"].as_str().expect("a library");
        assert!(library.contains("MPI") && library.contains('.'), "{library}");
        library
    } else {
        assert_eq!(ranks["processes"], "not-built");
        "cargo build --release -p cadft --features mpi"
    };
    assert!(text.contains(wanted), "{text}");
    let launched = run_with(CADFT, study.root(), &["doctor"], &[("OMPI_COMM_WORLD_SIZE", "2")]).succeeded();
    assert!(
        launched.stdout.contains("`OMPI_COMM_WORLD_SIZE` is 2"),
        "{}",
        launched.stdout
    );
}
