//! `cadft compare` on a tiny model.

use crate::CADFT;
use cadft_tests::command::run;
use cadft_tests::{SAME, fixture};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Compares two objectives over two seeds in `out`. Returns the table.
fn compare(out: &Path, more: &[&str]) -> (Value, String) {
    let mut args = vec![
        "compare",
        "recipe.nll.toml",
        "--objectives",
        "nll,dft",
        "--seeds",
        "2",
        "--set",
        "schedule.steps=6",
        "--set",
        "data.order=shuffled",
        "--json",
        "--out",
        out.to_str().expect("UTF-8"),
    ];
    args.extend(more);
    let done = run(CADFT, &fixture("blackbox"), &args).succeeded();
    let table = serde_json::from_str(done.stdout.trim()).expect("one JSON object");
    (table, done.stderr)
}

/// The NLL of a run after training.
fn nll(directory: &Path) -> f64 {
    let text = fs::read_to_string(directory.join("metrics.jsonl")).expect("metrics");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    last["evaluation"][1]["nll"].as_f64().expect("a number")
}

#[test]
fn the_table_is_the_mean_over_the_runs_and_finished_runs_are_not_repeated() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("comparison");
    let (table, _) = compare(&out, &[]);
    let rows = table["objectives"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().map(|row| row["objective"].as_str()).collect();
    assert_eq!(names, [Some("nll"), Some("dft")]);
    let first: Vec<_> = fs::read_dir(&out)
        .expect("runs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(first.len(), 4, "{first:?}");
    for row in rows {
        let name = row["objective"].as_str().expect("a name");
        let runs: Vec<_> = first
            .iter()
            .filter(|path| {
                path.file_name()
                    .is_some_and(|f| f.to_string_lossy().starts_with(name))
            })
            .map(|path| nll(path))
            .collect();
        let mean = (runs[0] + runs[1]) / 2.0;
        SAME.assert_near("mean", row["nll"]["mean"].as_f64().expect("a mean"), mean);
        let error = (runs[0] - runs[1]).abs() / 2.0;
        let found = row["nll"]["standard_error"].as_f64().expect("an error");
        SAME.assert_near("standard error", found, error);
        assert!(error > 0.0, "seeds change the order of the data");
    }
    let markdown = fs::read_to_string(out.join("compare.md")).expect("a table");
    assert!(
        markdown.starts_with("| objective | runs | eval NLL | token accuracy |"),
        "{markdown}"
    );
    let written: Value =
        serde_json::from_str(&fs::read_to_string(out.join("compare.json")).expect("a table")).expect("JSON");
    assert_eq!(written, table);

    // One run is interrupted, as by a kill. Only it is repeated, with the same result.
    let cut = first
        .iter()
        .find(|path| path.to_string_lossy().contains("dft"))
        .expect("a run");
    let metrics = cut.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).expect("metrics");
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&metrics, lines[..lines.len() - 1].join("\n")).expect("metrics");
    let (again, notes) = compare(&out, &[]);
    assert_eq!(again, table);
    assert_eq!(notes.matches("is finished").count(), 3, "{notes}");
}

#[test]
fn runs_of_other_settings_are_not_mixed_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("comparison");
    let _ = compare(&out, &["--set", "schedule.steps=1"]);
    let args = [
        "compare",
        "recipe.nll.toml",
        "--objectives",
        "nll",
        "--seeds",
        "1",
        "--out",
        out.to_str().expect("UTF-8"),
    ];
    run(CADFT, &fixture("blackbox"), &args).refused(&["`schedule.steps`", "hint: choose another directory"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let compare = |objectives: &str, set: &str| {
        let args = [
            "compare",
            "recipe.nll.toml",
            "--objectives",
            objectives,
            "--set",
            set,
        ];
        run(CADFT, &fixture("blackbox"), &args)
    };
    compare("nll,dtf", "run.seed=1").refused(&["`dtf` is not an objective", "hint: objectives are nll"]);
    compare("nll,nll", "run.seed=1").refused(&["named twice"]);
    compare("nll", "data.eval=[]").refused(&["`data.eval` is empty"]);
}
