//! `metrics.jsonl`, `samples.jsonl` and `history.jsonl` of a real run against the tables of `docs/src/reference/metrics.md`.

use crate::CADFT;
use cadft_tests::Workspace;
use cadft_tests::command::lines;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/src/reference/metrics.md");

/// Keys that may be absent: the system does not report them, the recipe does not request them, or there is only one
/// rank.
const OPTIONAL: [&str; 5] = [
    "peak_rss_mib",
    "ranks",
    "answer_entropy",
    "distinct_texts",
    "sources",
];

/// The names in backticks in the first column of the table under `heading`, with the rest of their rows.
fn table(heading: &str) -> BTreeMap<String, String> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("the page has no section {heading}"));
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| {
            let (names, meaning) = row.split_once(" | ").expect("a second column");
            let names = names
                .split('`')
                .filter(|name| !name.trim_matches([',', ' ']).is_empty());
            names
                .map(|name| (name.to_owned(), meaning.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn keys(line: &Value) -> BTreeSet<String> {
    line.as_object().expect("an object").keys().cloned().collect()
}

/// Asserts that a line has exactly the documented keys.
fn assert_documented(what: &str, line: &Value, documented: &BTreeSet<String>) {
    let found = keys(line);
    let undocumented: Vec<_> = found.difference(documented).collect();
    assert!(
        undocumented.is_empty(),
        "{what}: {undocumented:?} are not documented: {line}"
    );
    let missing: Vec<_> = documented
        .difference(&found)
        .filter(|key| !OPTIONAL.contains(&key.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "{what}: {missing:?} are documented, but missing: {line}"
    );
}

/// The names in backticks in a text.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_line_of_a_run_has_the_keys_that_the_reference_documents() {
    let workspace = Workspace::new();
    let settings = [
        "checkpoint.every=6",
        "evaluate.every=5",
        "data.eval=[\"eval.jsonl\"]",
        "log.samples=4",
        // The objective with the most keys, and settings that cause a warning.
        "objective.asft.lambda=0.1",
        "data.max-length=70",
    ];
    let directory = workspace.trained(CADFT, &settings);
    let read = |file: &str| lines(&fs::read_to_string(directory.join(file)).expect(file));

    let steps: BTreeSet<String> = table("Steps").into_keys().collect();
    let mut seen = BTreeSet::new();
    for (file, heading) in [("metrics.jsonl", "Events"), ("history.jsonl", "History")] {
        let events = table(heading);
        for line in read(file) {
            let Some(event) = line["event"].as_str() else {
                assert_eq!(file, "metrics.jsonl");
                assert_documented("a step", &line, &steps);
                continue;
            };
            let meaning = events
                .get(event)
                .unwrap_or_else(|| panic!("`{event}` of {file} is not documented"));
            let mut documented = quoted(meaning);
            documented.insert("event".to_owned());
            assert_documented(event, &line, &documented);
            seen.insert(event.to_owned());
        }
    }
    for expected in ["started", "evaluated", "saved", "warned", "finished"] {
        assert!(seen.contains(expected), "the run had no `{expected}`: {seen:?}");
    }

    let samples = read("samples.jsonl");
    assert_eq!(samples.len(), 4);
    let documented: BTreeSet<String> = table("Samples").into_keys().collect();
    for line in &samples {
        assert_documented("samples", line, &documented);
        let lengths: BTreeSet<_> = ["ids", "samples", "nll", "z", "weight", "gate", "supervised"]
            .map(|key| line[key].as_array().map(Vec::len))
            .into_iter()
            .collect();
        assert_eq!(lengths, BTreeSet::from([Some(8)]), "one entry a sample: {line}");
    }
    assert_eq!(
        (&samples[0]["step"], &samples[3]["step"]),
        (&1.into(), &20.into())
    );
}

#[test]
fn a_run_records_its_command_and_where_it_ran() {
    let workspace = Workspace::new();
    let directory = workspace.trained(CADFT, &["schedule.steps=1"]);
    let text = fs::read_to_string(directory.join("environment.json")).expect("a file");
    let environment: Value = serde_json::from_str(&text).expect("JSON");
    let command: Vec<&str> = environment["command"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|argument| argument.as_str().expect("text"))
        .collect();
    let args = "train --recipe recipe.toml --out run --set schedule.steps=1";
    assert_eq!(command[1..].join(" "), args);
    let place = environment["directory"]
        .as_str()
        .map(Path::new)
        .expect("a directory");
    let root = workspace.root().canonicalize().expect("it is there");
    assert_eq!(place, root, "{environment}");
    let page = include_str!("../../docs/src/reference/run-directory.md");
    for key in keys(&environment) {
        assert!(page.contains(&format!("| `{key}`")), "`{key}` is not documented");
    }
}
