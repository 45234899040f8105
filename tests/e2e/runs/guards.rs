//! Guards against values that indicate a problem, and reproducible numbers.

use super::{CADFT, train};
use cadft_tests::{Workspace, runs};
use serde_json::Value;
use std::fs;

/// Sets the weight of the sample in line `index` of the training data.
fn weigh(workspace: &Workspace, index: usize, weight: &str) {
    let text = fs::read_to_string(workspace.path("messages.jsonl")).expect("data");
    let mut rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect();
    rows[index]["weight"] = serde_json::from_str(weight).expect("a number");
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    workspace.write("messages.jsonl", &lines.join("\n"));
}

fn events(workspace: &Workspace, name: &str) -> Vec<Value> {
    runs::metrics(&workspace.path("run"))
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["event"] == name)
        .collect()
}

/// 30 steps in the order of the file, so that the step of each row is known.
const IN_ORDER: [&str; 8] = [
    "--set",
    "data.order=sequential",
    "--set",
    "schedule.steps=30",
    "--set",
    "schedule.kind=constant",
    "--set",
    "objective=nll",
];

#[test]
fn a_step_that_is_not_finite_is_skipped_with_its_samples_and_the_run_goes_on() {
    let workspace = Workspace::new();
    // Finite as a number, but its gradient overflows f32.
    weigh(&workspace, 9, "1e300");
    let _ = train(&workspace, &IN_ORDER).succeeded();
    let skipped = events(&workspace, "skipped");
    let steps: Vec<u64> = skipped
        .iter()
        .filter_map(|event| event["step"].as_u64())
        .collect();
    assert_eq!(steps, [2, 10, 18, 26], "once in each pass of 8 steps");
    for event in &skipped {
        assert_eq!(event["in_a_row"], 1);
        assert_eq!(event["samples"].as_array().map(Vec::len), Some(8), "{event}");
    }
    let model = fs::read(workspace.path("run/model/model.safetensors")).expect("a model");
    assert!(!model.is_empty());
    let nll: Vec<f64> = (runs::metrics(&workspace.path("run")).iter())
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["event"].is_null())
        .map(|step| step["nll"].as_f64().expect("a number"))
        .collect();
    // Seven steps of each pass are done; the last six steps belong to an incomplete pass.
    let mean = |steps: &[f64]| steps.iter().sum::<f64>() / steps.len() as f64;
    assert_eq!(nll.len(), 26);
    assert!(mean(&nll[14..21]) < mean(&nll[..7]), "it still learns: {nll:?}");
}

#[test]
fn steps_that_stay_not_finite_stop_the_run_and_name_the_samples() {
    let workspace = Workspace::new();
    let more = ["--set", "optimizer.lr=1e38", "--set", "guard.non-finite=4"];
    let outcome = train(&workspace, &more);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for part in ["not finite", "4 steps in a row", "samples:", "hint:"] {
        assert!(outcome.stderr.contains(part), "`{part}` in {}", outcome.stderr);
    }
    assert_eq!(events(&workspace, "skipped").len(), 4);
    assert!(
        !workspace.path("run/model").exists(),
        "a broken model is not a result"
    );
}

#[test]
fn a_gradient_far_above_its_average_is_told_with_its_step() {
    let workspace = Workspace::new();
    // Line 51 is in step 7 of a pass. The average has its 20 steps only before the third pass.
    weigh(&workspace, 50, "1000");
    let _ = train(&workspace, &IN_ORDER).succeeded();
    let warned = events(&workspace, "warned");
    let spikes: Vec<&Value> = warned
        .iter()
        .filter(|event| {
            event["message"]
                .as_str()
                .is_some_and(|text| text.contains("gradient norm"))
        })
        .collect();
    assert_eq!(spikes.len(), 1, "{warned:?}");
    assert_eq!(spikes[0]["step"], 23);
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    let workspace = Workspace::new();
    let path = workspace.path("model/model.safetensors");
    let mut bytes = fs::read(&path).expect("the model");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).expect("the model");
    train(&workspace, &[]).refused(&["model.norm.weight"]);
    assert!(!workspace.path("run").exists());
}

#[test]
fn a_learning_rate_of_zero_is_refused() {
    let workspace = Workspace::new();
    train(&workspace, &["--set", "optimizer.lr=0"]).refused(&["optimizer.lr", "above 0"]);
}

#[test]
fn evaluation_samples_that_are_trained_are_counted() {
    let workspace = Workspace::new();
    let train_rows = fs::read_to_string(workspace.path("messages.jsonl")).expect("data");
    let eval_rows = fs::read_to_string(workspace.path("eval.jsonl")).expect("data");
    let two: Vec<&str> = train_rows.lines().take(2).collect();
    workspace.write("eval.jsonl", &format!("{eval_rows}\n{}\n", two.join("\n")));
    let outcome = train(&workspace, &[]).succeeded();
    assert!(
        outcome.stderr.contains("2 of 18 evaluation samples"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn another_number_of_threads_gives_the_same_run() {
    let run = |threads: &str| {
        let workspace = Workspace::new();
        let status = std::process::Command::new(CADFT)
            .args(super::args(&[]))
            .current_dir(workspace.root())
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .expect("the command starts")
            .status;
        assert!(status.success());
        runs::remains(&workspace.path("run"))
    };
    let one = run("1");
    for threads in ["2", "5"] {
        runs::assert_same(&run(threads), &one, &format!("{threads} threads"));
    }
}
