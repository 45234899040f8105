//! Interrupted runs with state besides weights and moments: rewriting, adapters, dropout.

use super::kill::{Random, steps_of};
use super::{CADFT, train, uninterrupted};
use crate::study::Study;
use cadft_tests::Workspace;
use cadft_tests::runs::{self, Started};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Number of kills in the test, each at a step after which a round takes place.
const KILLS: usize = 12;
/// The step after which the first round takes place.
const ROUND: usize = 8;
const SETTINGS: [&str; 2] = ["checkpoint.every=1", "checkpoint.keep=2"];
const RESUMED: [&str; 11] = [
    "train",
    "--recipe",
    "recipe.toml",
    "--out",
    "run",
    "--resume",
    "auto",
    "--set",
    SETTINGS[0],
    "--set",
    SETTINGS[1],
];

/// Whether the last line of the metrics is a step after which a round takes place.
fn is_in_round(run: &Path) -> bool {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let last = text.lines().last().unwrap_or_default();
    last.starts_with("{\"step\":8,") || last.starts_with("{\"step\":10,")
}

#[test]
fn a_run_that_is_killed_while_it_rewrites_leaves_the_bytes_of_one_that_is_not() {
    let study = Study::new();
    let _ = study.train("run", &SETTINGS).succeeded();
    let expected = runs::remains(&study.path("run"));
    assert!(
        expected.contains_key("rewrites.jsonl") && expected.contains_key("compatibility.jsonl"),
        "{:?}",
        expected.keys()
    );
    let mut random = Random(8);
    let (mut kills, mut in_round) = (0, 0);
    while kills < KILLS {
        let study = Study::new();
        let directory = study.path("run");
        while kills < KILLS {
            let mut run = Started::new(CADFT, study.root(), &RESUMED);
            let begun = Instant::now();
            while steps_of(&directory) < ROUND && run.is_running() {
                assert!(begun.elapsed() < Duration::from_secs(60), "no step {ROUND}");
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(random.below(200)));
            if !run.kill() {
                break;
            }
            kills += 1;
            in_round += usize::from(is_in_round(&directory));
        }
        let _ = study.cadft(&RESUMED).succeeded();
        runs::assert_same(&runs::remains(&directory), &expected, "after kills");
    }
    println!("{in_round} of {kills} kills hit a round");
    assert!(in_round > 0, "no kill hit a round");
}

/// Trains with checkpoints after steps 7, 14 and 20, removes the last two checkpoints, and continues in the second pass
/// over the data.
fn goes_on_exactly(more: &[&str]) {
    let more = [
        more,
        &["--set", "checkpoint.every=7", "--set", "checkpoint.keep=9"],
    ]
    .concat();
    let expected = uninterrupted(&more);
    let workspace = Workspace::new();
    let _ = train(&workspace, &more).succeeded();
    for later in ["step-000014", "step-000020"] {
        fs::remove_dir_all(workspace.path("run/checkpoints").join(later)).expect("a checkpoint");
    }
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    runs::assert_same(&runs::remains(&workspace.path("run")), &expected, "from step 7");
}

#[test]
fn an_adapter_with_dropout_goes_on_exactly() {
    goes_on_exactly(&[
        "--set",
        "adapter.rank=4",
        "--set",
        "adapter.dropout=0.2",
        "--set",
        "adapter.kind=dora",
    ]);
}

#[test]
fn packed_rows_under_a_token_budget_go_on_exactly() {
    goes_on_exactly(&[
        "--set",
        "batch.packing=best-fit",
        "--set",
        "batch.max-tokens=256",
        "--set",
        "model.recompute=blocks",
    ]);
}
