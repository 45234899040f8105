//! `cadft compare` on a tiny model.

use crate::CADFT;
use cadft_tests::command::run;
use cadft_tests::{NLL, SAME, Workspace, fixture};
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

/// A matrix of two objectives, two settings, clean and noisy data, and two seeds; its table.
fn matrix(workspace: &Workspace) -> Value {
    let corrupt = [
        "data",
        "corrupt",
        "--data",
        "messages.jsonl",
        "--share",
        "0.3",
        "--out",
        "noisy.jsonl",
    ];
    let _ = workspace.run(CADFT, &corrupt).succeeded();
    let args = [
        "compare",
        "recipe.nll.toml",
        "--objectives",
        "nll",
        "--objective",
        "strong: cadft.beta=2; cadft.gate=\"nll\"",
        "--settings",
        "b4: batch.global=4",
        "--settings",
        "b8: batch.global=8",
        "--data",
        "clean: messages.jsonl",
        "--data",
        "noisy: noisy.jsonl",
        "--seeds",
        "2",
        "--set",
        "schedule.steps=4",
        "--set",
        "data.order=shuffled",
        "--json",
        "--out",
        "matrix",
    ];
    let done = workspace.run(CADFT, &args).succeeded();
    serde_json::from_str(done.stdout.trim()).expect("one JSON object")
}

/// The settings and the data of a row.
fn names(row: &Value) -> [&str; 2] {
    ["settings", "data"].map(|key| row[key].as_str().expect("text"))
}

#[test]
fn a_matrix_has_settings_and_data_and_separates_planted_noise() {
    let workspace = Workspace::new();
    let table = matrix(&workspace);
    let rows = table["objectives"].as_array().expect("rows");
    assert_eq!(rows.len(), 8);
    assert_eq!(
        (&rows[0]["objective"], names(&rows[0])),
        (&"nll".into(), ["b4", "clean"])
    );
    assert_eq!(
        (&rows[7]["objective"], names(&rows[7])),
        (&"strong".into(), ["b8", "noisy"])
    );
    for row in rows {
        assert_eq!(row["runs"], 2);
        let is_noisy = row["data"] == "noisy";
        assert_eq!(row["noise_auc"].is_object(), is_noisy, "{row}");
        if is_noisy && row["objective"] == "nll" {
            assert_eq!(row["noise_auc"]["mean"], 0.5, "every weight is 1");
        }
        if row["objective"] == "strong" {
            let [settings, data] = names(row);
            let run = format!("matrix/strong.{settings}.{data}-42/config.resolved.toml");
            let recipe = fs::read_to_string(workspace.path(&run)).expect("a run");
            assert!(
                recipe.contains("beta = 2.0") && recipe.contains("gate = \"nll\""),
                "{recipe}"
            );
        }
    }
    let differences = table["differences"].as_array().expect("differences");
    assert_eq!(differences.len(), 4);
    for difference in differences {
        let [settings, data] = names(difference);
        let of = |objective: &str, seed: u64| {
            nll(&workspace.path(&format!("matrix/{objective}.{settings}.{data}-{seed}")))
        };
        let mean = [42, 43]
            .map(|seed| of("strong", seed) - of("nll", seed))
            .iter()
            .sum::<f64>()
            / 2.0;
        let found = difference["measures"]["nll"]["mean"].as_f64().expect("a mean");
        SAME.assert_near("difference", found, mean);
        assert_eq!(difference["measures"]["nll"]["pairs"], 2);
    }
    let command = table["made"]["command"].as_array().expect("a command");
    let program = Path::new(CADFT).file_name().expect("a name").to_string_lossy();
    assert_eq!(command[0], *program, "without the path of this machine");
    assert!(
        command
            .iter()
            .any(|word| word.as_str().is_some_and(|word| word.contains("settings")))
    );
    let page = fs::read_to_string(workspace.path("matrix/report.html")).expect("a page");
    for part in ["from nll", "noise AUC", "Planted noise: AUC"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn arms_without_a_name_and_comparisons_of_nothing_are_refused() {
    let refused = [
        "compare",
        "recipe.nll.toml",
        "--objectives",
        "nll",
        "--settings",
        "batch.global=4",
    ];
    run(CADFT, &fixture("blackbox"), &refused).refused(&["`--settings`", "has no name", "hint: begin with"]);
    run(CADFT, &fixture("blackbox"), &["compare", "recipe.nll.toml"])
        .refused(&["no objective is named", "hint: "]);
}

#[test]
fn evaluation_sources_are_measured_one_by_one() {
    let workspace = Workspace::new();
    let rows = |file: &str| -> Vec<Value> {
        let text = fs::read_to_string(workspace.path(file)).expect("rows");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let with_answers: String = (rows("messages.jsonl").into_iter().take(5))
        .map(|mut row| {
            row["answer"] = "1".into();
            format!("{row}\n")
        })
        .collect();
    fs::write(workspace.path("questions.jsonl"), with_answers).expect("a file");
    let args = [
        "compare",
        "recipe.nll.toml",
        "--objectives=nll,dft",
        "--seeds=2",
        "--set=schedule.steps=4",
        "--set=data.eval=['eval.jsonl', 'questions.jsonl']",
        "--set=evaluate={answers=9, samples=2, temperature=1.0, max-new-tokens=4}",
        "--json",
        "--out=compared",
    ];
    let done = workspace.run(CADFT, &args).succeeded();
    let table: Value = serde_json::from_str(done.stdout.trim()).expect("one JSON object");
    for run in table["runs"].as_array().expect("runs") {
        let name = |key: &str| run[key].to_string().trim_matches('"').to_owned();
        let model = format!("compared/{}-{}/model", name("objective"), name("seed"));
        let mut whole = (0.0, 0.0);
        for file in ["eval.jsonl", "questions.jsonl"] {
            let args = [
                "evaluate",
                "--model",
                &model,
                "--recipe",
                "recipe.nll.toml",
                "--json",
                "--data",
                file,
            ];
            let own = workspace.run(CADFT, &args).succeeded().stdout;
            let own: Value = serde_json::from_str(own.trim()).expect("one JSON object");
            assert!(own.get("sources").is_none(), "{own}");
            let expected = own["nll"].as_f64().expect("a number");
            let found = run["measures"][format!("nll of {file}")]
                .as_f64()
                .expect("a number");
            NLL.assert_near(file, found, expected);
            let count = own["supervised"].as_f64().expect("a number");
            whole = (whole.0 + count * expected, whole.1 + count);
        }
        let found = run["measures"]["nll"].as_f64().expect("a number");
        NLL.assert_near("all", found, whole.0 / whole.1);
        // Only one of the files has questions.
        assert!(run["measures"].get("answers of eval.jsonl").is_none(), "{run}");
        assert_eq!(
            run["measures"]["answers of questions.jsonl"],
            run["measures"]["answers"]
        );
        assert!(
            run["measures"]["answer_entropy"]
                .as_f64()
                .is_some_and(|nats| nats > 0.0),
            "{run}"
        );
    }
    let markdown = fs::read_to_string(workspace.path("compared/compare.md")).expect("a table");
    assert!(
        markdown.contains("| NLL, eval.jsonl | NLL, questions.jsonl | right, questions.jsonl |"),
        "{markdown}"
    );
}

#[test]
fn two_processes_share_the_runs() {
    let workspace = Workspace::new();
    let args = [
        "compare",
        "recipe.nll.toml",
        "--objectives",
        "nll,dft",
        "--seeds",
        "2",
        "--set",
        "schedule.steps=12",
        "--json",
        "--out",
        "shared",
    ];
    let [one, other] = std::thread::scope(|scope| {
        let start = || scope.spawn(|| workspace.run(CADFT, &args).succeeded().stdout);
        [start(), start()].map(|thread| thread.join().expect("a process"))
    });
    assert_eq!(one, other);
    let table: Value = serde_json::from_str(one.trim()).expect("one JSON object");
    assert!(
        table["objectives"]
            .as_array()
            .expect("rows")
            .iter()
            .all(|row| row["runs"] == 2)
    );
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
