//! The result of `cadft compare`: a table of means and errors, and its runs.

use crate::console::percent;
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
    has_settings: bool,
    has_data: bool,
    /// Titles of the measures that are shown.
    measures: Vec<&'static str>,
    rows: Vec<Row>,
    /// What the differences are from; absent without any.
    from: Option<String>,
    differences: Vec<Row>,
}

/// The measures of one row: mean ± standard error, or a difference with its interval.
#[derive(Debug, Serialize)]
struct Row {
    objective: String,
    settings: String,
    data: String,
    runs: String,
    measures: Vec<String>,
}

/// A measure: its key, its title, and how it is shown.
type Measure = (&'static str, &'static str, fn(f64) -> String);

const MEASURES: [Measure; 6] = [
    ("nll", "eval NLL", |value| format!("{value:.4}")),
    ("token_accuracy", "token accuracy", percent),
    ("answers", "right answers", percent),
    ("pass", "pass@k", percent),
    ("noise_auc", "noise AUC", |value| format!("{value:.3}")),
    ("noise_recall", "noise recall", |value| format!("{value:.3}")),
];

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
    let list = |key: &str| table[key].as_array().map_or(&[][..], Vec::as_slice);
    let (objectives, compared) = (list("objectives"), list("differences"));
    let measures: Vec<&Measure> = (MEASURES.iter())
        .filter(|(key, ..)| objectives.iter().any(|row| !row[key].is_null()))
        .collect();
    let has = |key: &str| objectives.iter().any(|row| !row[key].is_null());
    let from = compared.first().and_then(|row| row["from"].as_str());
    let comparison = Comparison {
        left_out,
        has_settings: has("settings"),
        has_data: has("data"),
        rows: std::iter::once(&table["before"])
            .chain(objectives)
            .map(|row| shown(row, &measures, estimate))
            .collect(),
        from: from.map(str::to_owned),
        differences: (compared.iter())
            .map(|row| shown(row, &measures, difference))
            .collect(),
        measures: measures.iter().map(|(_, title, _)| *title).collect(),
    };
    Some((comparison, runs.iter().map(|run| directory.join(run)).collect()))
}

fn shown(row: &Value, measures: &[&Measure], show: fn(&Value, &Measure) -> Option<String>) -> Row {
    let diverged = match row["diverged"].as_u64() {
        None | Some(0) => String::new(),
        Some(diverged) => format!(", {diverged} diverged"),
    };
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let measures = measures.iter();
    Row {
        objective: text("objective"),
        settings: text("settings"),
        data: text("data"),
        runs: format!("{}{diverged}", row["runs"]),
        measures: measures
            .map(|measure| show(row, measure).unwrap_or_else(|| "–".to_owned()))
            .collect(),
    }
}

/// `mean ± standard error`.
fn estimate(row: &Value, (key, _, show): &Measure) -> Option<String> {
    let part = |part: &str| row[key][part].as_f64().map(show);
    let mean = part("mean")?;
    Some(part("standard_error").map_or(mean.clone(), |error| format!("{mean} ± {error}")))
}

/// `mean [low, high]`, and what as many pairs would have shown.
fn difference(row: &Value, (key, _, show): &Measure) -> Option<String> {
    let found = &row["measures"][key];
    let signed = |value: f64| format!("{}{}", if value < 0.0 { "" } else { "+" }, show(value));
    let mean = signed(found["mean"].as_f64()?);
    let ends = [0, 1].map(|end| found["interval"][end].as_f64());
    let (Some(low), Some(high), Some(detectable)) = (ends[0], ends[1], found["detectable"].as_f64()) else {
        return Some(mean);
    };
    Some(format!(
        "{mean} [{}, {}] ({})",
        signed(low),
        signed(high),
        show(detectable)
    ))
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
        let found = json!({"pairs": 2, "mean": -0.5, "interval": [-1.0, 0.25], "detectable": 2.0});
        let table = json!({"before": row("before training", Value::Null), "objectives": [row("nll", Value::Null)],
            "differences": [{"objective": "dft", "from": "nll", "measures": {"nll": found}}]});
        std::fs::write(path.join(TABLE), table.to_string()).unwrap();
        let (comparison, runs) = read(path, 3).unwrap();
        let names: Vec<_> = runs.iter().filter_map(|run| run.file_name()?.to_str()).collect();
        assert_eq!(names, ["dft-42", "nll-42", "dft-43"]);
        assert_eq!(comparison.left_out, ["nll-43"]);
        assert_eq!(comparison.measures, ["eval NLL", "token accuracy"]);
        let first = &comparison.rows[1];
        assert_eq!(first.runs, "2, 1 diverged");
        assert_eq!(first.measures, ["1.0000 ± 0.2500", "50.0 %"]);
        assert_eq!(comparison.from.as_deref(), Some("nll"));
        let compared = &comparison.differences[0];
        assert_eq!(compared.measures, ["-0.5000 [-1.0000, +0.2500] (2.0000)", "–"]);
        assert!(!comparison.has_data && !comparison.has_settings);
    }
}
