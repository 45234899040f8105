//! Files, directories, globs, and mixtures of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use cadft_data::{DataError, Mixing, Row, Source, StoppingStrategy, read_rows, with_hints};
use proptest::prelude::*;
use tempfile::TempDir;

/// A directory with these files; each has the given number of text rows.
fn directory(files: &[(&str, usize)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, count) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let rows: String = (0..*count)
            .map(|n| format!("{{\"text\": \"{name} {n}\"}}\n"))
            .collect();
        fs::write(path, rows).unwrap();
    }
    directory
}

fn at(directory: &TempDir, path: &str) -> Source {
    Source::new(directory.path().join(path).display().to_string())
}

fn names(directory: &TempDir, source: &Source) -> Vec<String> {
    let name = |path: &Path| path.strip_prefix(directory.path()).unwrap().display().to_string();
    source.files().unwrap().iter().map(|path| name(path)).collect()
}

fn refused(source: &Source) -> String {
    with_hints(&source.files().unwrap_err())
}

#[test]
fn a_directory_is_all_its_data_files_in_order() {
    let directory = directory(&[
        ("b.jsonl", 1),
        ("a/2.json", 1),
        ("a/1.jsonl.gz", 1),
        (".cache/x.jsonl", 1),
        ("dataset_info.json", 1),
    ]);
    assert_eq!(
        names(&directory, &at(&directory, "")),
        ["a/1.jsonl.gz", "a/2.json", "b.jsonl"]
    );
    assert_eq!(names(&directory, &at(&directory, "*.jsonl")), ["b.jsonl"]);
    assert_eq!(
        names(&directory, &at(&directory, "**/[12].*")),
        ["a/1.jsonl.gz", "a/2.json"]
    );
}

#[test]
fn a_directory_with_several_splits_asks_which() {
    let directory = directory(&[("train-0.jsonl", 2), ("train-1.jsonl", 1), ("data/test.jsonl", 1)]);
    let source = at(&directory, "");
    let message = refused(&source);
    assert!(
        message.contains("has the splits `train`, `test`\nhint: say which with `split`"),
        "{message}"
    );
    let split = |split: &str| Source {
        split: Some(split.to_owned()),
        ..source.clone()
    };
    assert_eq!(
        names(&directory, &split("train")),
        ["train-0.jsonl", "train-1.jsonl"]
    );
    assert_eq!(names(&directory, &split("test")), ["data/test.jsonl"]);
    assert!(refused(&split("dev")).contains("no file belongs to the split `dev`"));
    assert_eq!(names(&directory, &at(&directory, "data")), ["data/test.jsonl"]);
}

#[test]
fn what_names_no_file_is_refused() {
    let directory = directory(&[("a.jsonl", 1), ("empty/x.txt", 1)]);
    assert!(refused(&at(&directory, "b.jsonl")).starts_with("cannot read `"));
    assert!(refused(&at(&directory, "*.csv")).contains("no file matches"));
    assert!(refused(&at(&directory, "a**")).contains("no glob"));
    assert!(refused(&at(&directory, "empty")).contains("the directory has no data files"));
    let split = Source {
        split: Some("train".to_owned()),
        ..at(&directory, "a.jsonl")
    };
    assert!(refused(&split).contains("chooses among the files of a directory"));
}

#[test]
fn rows_know_where_they_come_from() {
    let directory = directory(&[("a/1.jsonl", 2), ("a/2.jsonl", 1), ("b.jsonl", 1)]);
    let rows = read_rows(
        &[at(&directory, "a"), at(&directory, "b.jsonl")],
        &Mixing::default(),
    )
    .unwrap();
    let place = |row: &Row| {
        let file = Path::new(&*row.file).strip_prefix(directory.path()).unwrap();
        (file.display().to_string(), row.line, row.source)
    };
    let expected = [
        ("a/1.jsonl", 1, 0),
        ("a/1.jsonl", 2, 0),
        ("a/2.jsonl", 1, 0),
        ("b.jsonl", 1, 1),
    ];
    assert_eq!(
        rows.iter().map(place).collect::<Vec<_>>(),
        expected.map(|(file, line, source)| (file.to_owned(), line, source))
    );
}

#[test]
fn problems_of_all_files_are_in_one_report() {
    let directory = directory(&[("a.jsonl", 2), ("b.jsonl", 0), ("c.jsonl", 1)]);
    fs::write(directory.path().join("c.jsonl"), "{}\n{\"text\": \"c\"}\n[]\n").unwrap();
    match read_rows(&[at(&directory, "")], &Mixing::default()) {
        Err(DataError::Invalid { problems, .. }) => assert_eq!(problems.len(), 3, "{problems:?}"),
        other => panic!("{other:?}"),
    }
}

/// The number of occurrences of each row of each source.
fn counts(rows: &[Row]) -> HashMap<(usize, usize), usize> {
    let mut counts = HashMap::new();
    for row in rows {
        *counts.entry((row.source, row.line)).or_insert(0) += 1;
    }
    counts
}

fn mixture(sizes: &[usize], weights: &[f64], mixing: Mixing) -> Vec<Row> {
    let names: Vec<_> = (0..sizes.len()).map(|index| format!("{index}.jsonl")).collect();
    let files: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(sizes.iter().copied())
        .collect();
    let directory = directory(&files);
    let sources: Vec<_> = names
        .iter()
        .zip(weights)
        .map(|(name, &weight)| Source {
            weight: Some(weight),
            ..at(&directory, name)
        })
        .collect();
    read_rows(&sources, &mixing).unwrap()
}

fn mixing(seed: u64, stopping_strategy: StoppingStrategy) -> Mixing {
    Mixing {
        seed,
        stopping_strategy,
    }
}

#[test]
fn a_mixture_has_the_proportions_of_its_weights() {
    let rows = mixture(
        &[20_000, 20_000, 20_000],
        &[6.0, 3.0, 1.0],
        mixing(1, StoppingStrategy::FirstExhausted),
    );
    for (source, share) in [(0, 0.6), (1, 0.3), (2, 0.1)] {
        let count = rows.iter().filter(|row| row.source == source).count();
        // Four standard deviations for 33,000 draws.
        let found = count as f64 / rows.len() as f64;
        assert!((found - share).abs() < 0.011, "{source}: {found}");
    }
    assert_eq!(
        rows.iter().filter(|row| row.source == 0).count(),
        20_000,
        "it ends with the first to run out"
    );
}

#[test]
fn a_mixture_depends_on_its_seed_alone() {
    let rows = |seed| {
        let rows = mixture(
            &[50, 50],
            &[1.0, 1.0],
            mixing(seed, StoppingStrategy::FirstExhausted),
        );
        rows.iter().map(|row| (row.source, row.line)).collect::<Vec<_>>()
    };
    assert_eq!(rows(1), rows(1));
    assert_ne!(rows(1), rows(2));
}

#[test]
fn weights_that_mean_nothing_are_refused() {
    let directory = directory(&[("a.jsonl", 1)]);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let source = Source {
            weight: Some(weight),
            ..at(&directory, "a.jsonl")
        };
        let message = read_rows(&[source], &Mixing::default()).unwrap_err().to_string();
        assert!(message.contains("expected a finite number above 0"), "{message}");
    }
}

#[test]
fn a_mixture_with_an_empty_or_broken_source_ends() {
    let directory = directory(&[("a.jsonl", 5), ("b.jsonl", 0), ("c.jsonl", 0)]);
    fs::write(directory.path().join("c.jsonl"), "{}\n{}\n").unwrap();
    for name in ["b.jsonl", "c.jsonl"] {
        let weighted = |name| Source {
            weight: Some(1.0),
            ..at(&directory, name)
        };
        let mixing = mixing(0, StoppingStrategy::AllExhausted);
        assert!(
            read_rows(&[weighted("a.jsonl"), weighted(name)], &mixing).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_source_reads_back_from_a_recipe() {
    let table = r#"{"path": "a", "format": "prompt-completion", "weight": 0.5, "split": "train",
                    "columns": {"prompt": "question", "completion": "answer"}}"#;
    let source: Source = serde_json::from_str(table).unwrap();
    assert_eq!(source.columns.prompt.as_deref(), Some("question"));
    for source in [source, Source::new("a")] {
        let text = serde_json::to_string(&source).unwrap();
        assert_eq!(serde_json::from_str::<Source>(&text).unwrap(), source, "{text}");
    }
    assert_eq!(serde_json::to_string(&Source::new("a")).unwrap(), "\"a\"");
    for wrong in [
        r#"{"path": "a", "wieght": 1}"#,
        r#"{"path": "a", "columns": {"promt": "q"}}"#,
        "{}",
        "3",
    ] {
        assert!(serde_json::from_str::<Source>(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn first_exhausted_repeats_nothing(sizes in prop::collection::vec(1_usize..30, 1..4), seed in 0_u64..1000) {
        let weights: Vec<_> = (1..=sizes.len()).map(|weight| weight as f64).collect();
        let rows = mixture(&sizes, &weights, mixing(seed, StoppingStrategy::FirstExhausted));
        let counts = counts(&rows);
        prop_assert!(counts.values().all(|&count| count == 1));
        let whole = (0..sizes.len()).filter(|&source| (1..=sizes[source]).all(|line| counts.contains_key(&(source, line))));
        prop_assert_eq!(whole.count(), 1);
    }

    #[test]
    fn all_exhausted_has_every_row(sizes in prop::collection::vec(1_usize..30, 1..4), seed in 0_u64..1000) {
        let weights: Vec<_> = (1..=sizes.len()).map(|weight| weight as f64).collect();
        let rows = mixture(&sizes, &weights, mixing(seed, StoppingStrategy::AllExhausted));
        let counts = counts(&rows);
        prop_assert_eq!(counts.len(), sizes.iter().sum::<usize>());
        // Each source repeats in the order of its files.
        for (source, &size) in sizes.iter().enumerate() {
            let lines: Vec<_> = rows.iter().filter(|row| row.source == source).map(|row| row.line).collect();
            let expected: Vec<_> = (0..lines.len()).map(|n| n % size + 1).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
