//! The table of a comparison, from outcomes that are given.

use super::*;
use crate::command::compare::outcome::OfSource;

fn outcome(cell: usize, seed: u64, nll: Option<f64>) -> Outcome {
    Outcome {
        cell,
        seed,
        nll: nll.map(|nll| [2.0, nll]),
        token_accuracy: nll.map(|_| [0.25, 0.5]),
        ..Outcome::default()
    }
}

fn cells(objectives: &[&str]) -> Vec<Cell> {
    let cell = |objective: &&str| Cell {
        objective: (*objective).to_owned(),
        ..Cell::default()
    };
    objectives.iter().map(cell).collect()
}

#[test]
fn the_table_has_a_row_for_each_objective_and_counts_what_diverged() {
    let outcomes = [
        outcome(0, 1, Some(1.0)),
        outcome(1, 1, None),
        outcome(0, 2, Some(1.5)),
    ];
    let table = Table::new(&cells(&["nll", "dft"]), &outcomes, Made::default());
    assert_eq!(
        table.markdown(),
        "| objective | runs | eval NLL | token accuracy |\n|---|--:|--:|--:|\n\
         | before training |  | 2.0000 ± 0.0000 | 25.0 % ± 0.0 % |\n\
         | nll | 2 | 1.2500 ± 0.2500 | 50.0 % ± 0.0 % |\n| dft | 0, 1 diverged | – | – |\n\n\
         Mean ± standard error over the runs.\n"
    );
    assert!(table.terminal()[0].trim_fmt().lines().count() >= 4);
}

#[test]
fn differences_are_those_of_runs_with_the_same_seed() {
    // Seeds differ by 10, objectives by 0.5: only pairs show that.
    let outcomes = [
        outcome(0, 1, Some(1.0)),
        outcome(0, 2, Some(11.0)),
        outcome(0, 3, Some(21.0)),
        outcome(1, 3, Some(20.5)),
        outcome(1, 1, Some(0.5)),
        outcome(1, 4, Some(70.0)),
    ];
    let table = Table::new(&cells(&["nll", "dft"]), &outcomes, Made::default());
    let [compared] = table.differences.as_slice() else {
        panic!("{:?}", table.differences)
    };
    assert_eq!(compared.from, "nll");
    let nll = compared.measures["nll"];
    assert_eq!((nll.pairs, nll.mean, nll.interval), (2, -0.5, Some([-0.5; 2])));
    let markdown = table.markdown();
    assert!(
        markdown.contains("| dft | -0.5000 [-0.5000, -0.5000] (0.0000) | +0.0 % [+0.0 %, +0.0 %] (0.0 %) |"),
        "{markdown}"
    );
}

#[test]
fn settings_and_data_are_columns_and_compared_within_themselves() {
    let cell = |objective: &str, data: &str| Cell {
        objective: objective.to_owned(),
        settings: None,
        data: Some(data.to_owned()),
    };
    let cells = [
        cell("nll", "clean"),
        cell("dft", "clean"),
        cell("nll", "noisy"),
        cell("dft", "noisy"),
    ];
    let values = [1.0, 2.0, 5.0, 5.5];
    let outcomes: Vec<Outcome> = (values.iter().enumerate())
        .map(|(cell, &nll)| outcome(cell, 1, Some(nll)))
        .collect();
    let table = Table::new(&cells, &outcomes, Made::default());
    let found: Vec<_> = (table.differences.iter())
        .map(|compared| (compared.cell.data.as_deref(), compared.measures["nll"].mean))
        .collect();
    assert_eq!(found, [(Some("clean"), 1.0), (Some("noisy"), 0.5)]);
    assert!(
        table
            .markdown()
            .starts_with("| objective | data | runs | eval NLL | token accuracy |"),
        "{}",
        table.markdown()
    );
}

#[test]
fn several_evaluation_sources_have_columns_of_their_own() {
    let with_sources = |cell, nll| Outcome {
        sources: vec![
            OfSource {
                path: "data/own.jsonl".to_owned(),
                nll: Some([2.0, nll]),
                answers: Some([0.25, 0.5]),
                pass: None,
            },
            OfSource {
                path: "data/other.jsonl".to_owned(),
                nll: Some([3.0, 3.0 + nll]),
                ..OfSource::default()
            },
        ],
        ..outcome(cell, 1, Some(nll))
    };
    let outcomes = [with_sources(0, 1.0), with_sources(1, 1.5), outcome(2, 1, None)];
    let table = Table::new(&cells(&["nll", "dft", "cadft"]), &outcomes, Made::default());
    let markdown = table.markdown();
    let header = "| objective | runs | eval NLL | token accuracy | NLL, own.jsonl | right, own.jsonl | NLL, other.jsonl |";
    assert!(markdown.starts_with(header), "{markdown}");
    assert!(
        markdown.contains("| nll | 1 | 1.0000 | 50.0 % | 1.0000 | 50.0 % | 4.0000 |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| cadft | 0, 1 diverged | – | – | – | – | – |"),
        "{markdown}"
    );
    let dft = &table.differences[0];
    assert_eq!(dft.measures["nll of data/other.jsonl"].mean, 0.5);
    assert!(!dft.measures.contains_key("pass of data/own.jsonl"));
    assert_eq!(table.runs[0].measures["answers of data/own.jsonl"], 0.5);
    assert!(table.runs[2].measures.is_empty());
}
