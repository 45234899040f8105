//! The result of `cadft compare`: a table of means and errors, and its runs.

use cadft_train::RunDirectory;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The file with the table of a comparison.
const TABLE: &str = "compare.json";

/// A comparison of objectives.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// Directories of runs that are not drawn.
    left_out: Vec<String>,
    has_answers: bool,
    rows: Vec<Row>,
}

/// The measures of one objective, as mean ± standard error.
#[derive(Debug, Serialize)]
struct Row {
    objective: String,
    runs: String,
    nll: String,
    token_accuracy: String,
    answers: String,
}

/// The table of the comparison in `directory`, and at most `most` of its runs; `None` if there is no comparison.
pub(super) fn read(directory: &Path, most: usize) -> Option<(Comparison, Vec<PathBuf>)> {
    let text = cadft_files::read_to_string(&directory.join(TABLE)).ok()?;
    let table: Value = serde_json::from_str(&text).ok()?;
    let mut runs: Vec<String> = (cadft_files::entries(directory).ok()?.into_iter())
        .filter(|name| RunDirectory::is_taken(&directory.join(name)))
        .collect();
    // All objectives of the first seed, then those of the next, and so on.
    runs.sort_by_key(|name| {
        let (objective, seed) = name.rsplit_once('-').unwrap_or((name, ""));
        (seed.parse::<u64>().unwrap_or(u64::MAX), objective.to_owned())
    });
    let left_out = runs.split_off(runs.len().min(most));
    let objectives = table["objectives"].as_array().into_iter().flatten();
    let rows: Vec<Row> = std::iter::once(&table["before"])
        .chain(objectives)
        .map(row)
        .collect();
    let comparison = Comparison {
        left_out,
        has_answers: rows.iter().any(|row| row.answers != "–"),
        rows,
    };
    Some((comparison, runs.iter().map(|run| directory.join(run)).collect()))
}

fn row(row: &Value) -> Row {
    let estimate = |key: &str, show: fn(f64) -> String| {
        let shown = |part: &str| row[key][part].as_f64().map(show);
        match (shown("mean"), shown("standard_error")) {
            (Some(mean), Some(error)) => format!("{mean} ± {error}"),
            (Some(mean), None) => mean,
            _ => "–".to_owned(),
        }
    };
    let diverged = match row["diverged"].as_u64() {
        None | Some(0) => String::new(),
        Some(diverged) => format!(", {diverged} diverged"),
    };
    Row {
        objective: row["objective"].as_str().unwrap_or_default().to_owned(),
        runs: format!("{}{diverged}", row["runs"]),
        nll: estimate("nll", |nll| format!("{nll:.4}")),
        token_accuracy: estimate("token_accuracy", crate::console::percent),
        answers: estimate("answers", crate::console::percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_comparison_has_its_table_and_the_first_seeds_of_all_objectives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(read(path, 8).is_none());
        for name in ["nll-42", "nll-43", "dft-42", "dft-43", "other"] {
            std::fs::create_dir(path.join(name)).unwrap();
            if name == "other" {
                continue;
            }
            std::fs::write(path.join(name).join("config.resolved.toml"), "").unwrap();
            let environment = json!({"format_version": 1, "cadft": "0.1.0"}).to_string();
            std::fs::write(path.join(name).join("environment.json"), environment).unwrap();
        }
        let row = |name: &str, answers: Value| {
            json!({"objective": name, "runs": 2, "diverged": 1, "nll": {"mean": 1.0, "standard_error": 0.25},
            "token_accuracy": {"mean": 0.5, "standard_error": null}, "answers": answers})
        };
        let table =
            json!({"before": row("before training", Value::Null), "objectives": [row("nll", Value::Null)]});
        std::fs::write(path.join(TABLE), table.to_string()).unwrap();
        let (comparison, runs) = read(path, 3).unwrap();
        let names: Vec<_> = runs.iter().filter_map(|run| run.file_name()?.to_str()).collect();
        assert_eq!(names, ["dft-42", "nll-42", "dft-43"]);
        assert_eq!(comparison.left_out, ["nll-43"]);
        assert!(!comparison.has_answers);
        let first = &comparison.rows[1];
        assert_eq!(
            [&first.runs, &first.nll, &first.token_accuracy, &first.answers],
            ["2, 1 diverged", "1.0000 ± 0.2500", "50.0 %", "–"]
        );
    }
}
