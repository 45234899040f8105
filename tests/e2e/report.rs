//! `cadft report` on runs of every kind.

use crate::CADFT;
use cadft_tests::command::run;
use cadft_tests::synthetic::{self, HOSTILE, Kind};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The page about these runs.
fn page(runs: &[&Path], out: &Path) -> String {
    let mut args = vec!["report", "--out", out.to_str().expect("UTF-8")];
    args.extend(runs.iter().map(|run| run.to_str().expect("UTF-8")));
    let _ = run(CADFT, Path::new("."), &args).succeeded();
    fs::read_to_string(out).expect("a page")
}

/// The data that the script of the page draws.
fn drawn(page: &str) -> Value {
    let opening = "id=\"data\">";
    let start = page.find(opening).expect("data") + opening.len();
    let end = start + page[start..].find("</script>").expect("an end");
    serde_json::from_str(&page[start..end]).expect("JSON")
}

#[test]
fn every_kind_of_run_gives_a_small_page_that_needs_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    for kind in Kind::ALL {
        let run = synthetic::run(directory.path(), kind);
        let page = page(&[&run], &directory.path().join("page.html"));
        assert!(page.len() < 600_000, "{kind:?}: {} bytes", page.len());
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(outside), "{kind:?}: the page refers to {outside}");
        }
        assert!(!page.contains(HOSTILE), "{kind:?}: text got out of its place");
        let drawn = drawn(&page);
        let charts = drawn["charts"].as_array().expect("charts");
        if kind == Kind::Empty {
            assert!(charts.iter().all(|chart| chart["key"] == "nll"), "{charts:?}");
            assert!(page.contains("no step yet"));
        } else {
            assert_eq!(charts.len(), 11, "{kind:?}");
            assert!(page.contains("&lt;b&gt;"), "{kind:?}: the warning is shown");
        }
    }
}

#[test]
fn a_long_run_is_thinned_and_keeps_its_spike_and_its_rewrites() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = synthetic::run(directory.path(), Kind::Long);
    let page = page(&[&run], &directory.path().join("page.html"));
    let drawn = drawn(&page);
    let charts = drawn["charts"].as_array().expect("charts");
    let norm = charts
        .iter()
        .find(|chart| chart["key"] == "grad_norm")
        .expect("a chart");
    let curve = &norm["curves"][0];
    let length = curve["steps"].as_array().expect("steps").len();
    assert!((400..=500).contains(&length), "{length} points");
    let values = |key: &str| -> Vec<f64> {
        let values = curve[key].as_array().expect("values");
        values
            .iter()
            .map(|value| value.as_f64().expect("a number"))
            .collect()
    };
    let most = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
    let (peak, mean) = (most(values("max")), most(values("mean")));
    assert!(
        peak > 5.0 * mean,
        "the spike of {peak} is not lost in means of {mean}"
    );
    assert!(page.contains("Round after step 10000: 220 chosen, 200 generated, 100 replaced"));
    assert!(page.contains("Least compatible samples"));
    assert!(
        !drawn["samples"][0]["points"]
            .as_array()
            .expect("points")
            .is_empty()
    );
}

#[test]
fn a_diverged_run_says_where_and_that_it_has_no_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = synthetic::run(directory.path(), Kind::Diverged);
    let page = page(&[&run], &directory.path().join("page.html"));
    let nll = &drawn(&page)["charts"][0]["curves"][0];
    assert_eq!(nll["not_finite_from"], 31);
    assert_eq!(nll["mean"][40], Value::Null);
    assert!(
        page.contains("not finished") && page.contains("60 of 60"),
        "its state"
    );
    assert!(page.contains("unreadable lines"), "its last line is torn");
}

#[test]
fn several_runs_are_drawn_over_each_other_and_stay_under_two_megabytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let parents: Vec<_> = (0..8)
        .map(|i| directory.path().join(format!("seed-{i}")))
        .collect();
    let runs: Vec<_> = parents
        .iter()
        .map(|parent| synthetic::run(parent, Kind::Long))
        .collect();
    let runs: Vec<&Path> = runs.iter().map(AsRef::as_ref).collect();
    let page = page(&runs, &directory.path().join("page.html"));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let drawn = drawn(&page);
    assert_eq!(drawn["charts"][0]["curves"].as_array().map(Vec::len), Some(8));
    assert_eq!(drawn["charts"][0]["curves"][3]["name"], "seed-3/long");
    let mut args = vec!["report"];
    let ninth = synthetic::run(directory.path(), Kind::OneStep);
    args.extend(
        runs.iter()
            .chain([&ninth.as_path()])
            .map(|run| run.to_str().expect("UTF-8")),
    );
    run(CADFT, Path::new("."), &args).refused(&["9 runs", "hint:"]);
}

#[test]
fn what_is_no_run_is_refused_and_the_page_of_one_run_lies_in_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8");
    run(CADFT, Path::new("."), &["report", path]).refused(&["is not the directory of a run", "hint:"]);
    let made = synthetic::run(directory.path(), Kind::OneStep);
    let _ = run(CADFT, Path::new("."), &["report", made.to_str().expect("UTF-8")]).succeeded();
    assert!(made.join("report.html").is_file());
}
