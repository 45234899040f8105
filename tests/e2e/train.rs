//! `cadft train` against an independent `PyTorch` trainer (`python/reference_trainer.py`), and the files of a run.

use crate::CADFT;
use cadft_model::{SaveOptions, checkpoint};
use cadft_tests::command::{lines, run, steps};
use cadft_tests::{CURVE, NLL, RUN, Tolerance, Workspace, fixture};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Metrics that must agree with the reference at every step.
const COMPARED: [&str; 10] = [
    "loss",
    "nll",
    "mean_gate",
    "mean_weight",
    "ess",
    "mu",
    "sigma",
    "max_z",
    "grad_norm",
    "lr",
];

/// Runs a recipe in its folder, and compares every step of `metrics.jsonl`.
fn assert_follows_reference(folder: &str, recipe: &str, expected: &str, by: Tolerance) {
    let out = tempfile::tempdir().expect("a temporary directory");
    for device in cadft_tests::backends() {
        let directory = out.path().join(device);
        let out = directory.to_str().expect("a UTF-8 path");
        let args = ["train", "--recipe", recipe, "--out", out, "--device", device];
        let _ = run(CADFT, &fixture(folder), &args).succeeded();
        let found = steps(&read(&directory.join("metrics.jsonl")));
        let expected = lines(&read(&fixture(folder).join(expected)));
        assert_eq!(found.len(), expected.len(), "{recipe} on {device}: steps");
        for (found, expected) in found.iter().zip(&expected) {
            let divergence = ["mean_kl"].into_iter().filter(|&key| !expected[key].is_null());
            for key in COMPARED.iter().copied().chain(divergence) {
                let (ours, theirs) = (number(found, key), number(expected, key));
                let what = format!("{recipe} on {device}, step {}: {key}", found["step"]);
                by.assert_near(&what, ours, theirs);
            }
            for key in ["step", "tokens", "supervised"] {
                assert_eq!(found[key], expected[key], "{recipe} on {device}: {key}");
            }
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn number(line: &Value, key: &str) -> f64 {
    line[key]
        .as_f64()
        .unwrap_or_else(|| panic!("`{key}` is not a number in {line}"))
}

#[test]
fn cadft_with_exact_statistics_follows_the_reference() {
    assert_follows_reference("blackbox", "recipe.toml", "expected.exact.jsonl", RUN);
}

#[test]
fn cadft_with_running_statistics_follows_the_reference() {
    assert_follows_reference("blackbox", "recipe.running.toml", "expected.running.jsonl", RUN);
}

#[test]
fn cadft_with_the_nll_gate_and_sample_mean_follows_the_reference() {
    assert_follows_reference("blackbox", "recipe.gate-nll.toml", "expected.gate-nll.jsonl", RUN);
}

#[test]
fn the_objective_schedule_follows_the_reference() {
    assert_follows_reference("blackbox", "recipe.start.toml", "expected.start.jsonl", RUN);
}

#[test]
fn nll_follows_the_reference() {
    assert_follows_reference("blackbox", "recipe.nll.toml", "expected.nll.jsonl", RUN);
}

#[test]
fn dft_follows_the_reference() {
    assert_follows_reference("blackbox", "recipe.dft.toml", "expected.dft.jsonl", RUN);
}

#[test]
fn the_baselines_follow_the_reference() {
    for name in [
        "asft",
        "eaft",
        "iw-sft",
        "idft",
        "deft",
        "info-sft",
        "chord-phi",
        "profit",
        "sed-sft",
        "talr",
        "kl-sft",
        "prift",
        "prift-mass",
        "psft",
        "rho",
    ] {
        let (recipe, expected) = (format!("recipe.{name}.toml"), format!("expected.{name}.jsonl"));
        assert_follows_reference("blackbox", &recipe, &expected, RUN);
    }
}

#[test]
fn the_golden_curve_of_forty_steps_is_reproduced() {
    assert_follows_reference("curve", "recipe.toml", "expected.jsonl", CURVE);
}

#[test]
fn a_run_leaves_what_the_contract_says() {
    let workspace = Workspace::new();
    let directory = workspace.trained(CADFT, &["checkpoint.every=6", "checkpoint.keep=2"]);

    let recipe = read(&directory.join("config.resolved.toml"));
    assert!(
        cadft_train::config::parse("resolved", &recipe, &[]).is_ok(),
        "{recipe}"
    );
    let environment: Value = serde_json::from_str(&read(&directory.join("environment.json"))).expect("JSON");
    assert_eq!(environment["format_version"], 1);

    // In numeric order: the newest two, and the final model.
    let mut saved: Vec<_> = fs::read_dir(directory.join("checkpoints"))
        .expect("checkpoints")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    saved.sort();
    assert_eq!(saved, ["step-000018", "step-000020"]);
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        assert!(directory.join("model").join(file).is_file(), "{file}");
    }

    // Loading and saving again gives the same bytes.
    let device = cadft_train::device::parse(cadft_train::device::compiled()[0]).expect("a device");
    let loaded = checkpoint::load(&directory.join("model"), &device).expect("the saved model loads");
    let again = workspace.path("again");
    let options = SaveOptions {
        carry_from: Some(directory.join("model")),
        ..SaveOptions::default()
    };
    checkpoint::save(&again, &loaded.model, &loaded.config, &options).expect("it saves");
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let bytes = |directory: &Path| fs::read(directory.join(file)).expect("a file");
        assert_eq!(bytes(&again), bytes(&directory.join("model")), "{file}");
    }

    // A second run does not overwrite the first.
    let args = ["train", "--recipe", "recipe.toml", "--out", "run"];
    workspace
        .run(CADFT, &args)
        .refused(&["already holds a run", "hint:"]);
}

#[test]
fn two_runs_of_the_same_seed_give_the_same_bytes() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let weights = |name: &str| {
        let directory = out.path().join(name);
        let path = directory.to_str().expect("a UTF-8 path");
        let args = [
            "train",
            "--recipe",
            "recipe.toml",
            "--out",
            path,
            "--set",
            "data.order=shuffled",
        ];
        let _ = run(CADFT, &fixture("blackbox"), &args).succeeded();
        fs::read(directory.join("model/model.safetensors")).expect("the model")
    };
    assert_eq!(weights("first"), weights("second"));
}

#[test]
fn evaluation_of_the_trained_model_is_what_training_reported() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let directory = out.path().join("run");
    let path = directory.to_str().expect("a UTF-8 path");
    let _ = run(
        CADFT,
        &fixture("blackbox"),
        &["train", "--recipe", "recipe.nll.toml", "--out", path],
    )
    .succeeded();
    let events = lines(&read(&directory.join("metrics.jsonl")));
    let evaluated: Vec<&Value> = events
        .iter()
        .filter(|line| line["event"] == "evaluated")
        .collect();
    assert_eq!(evaluated.len(), 2, "before and after training");
    let model = directory.join("model");
    let args = [
        "evaluate",
        "--model",
        model.to_str().expect("UTF-8"),
        "--data",
        "eval.jsonl",
        "--json",
    ];
    let reported = run(CADFT, &fixture("blackbox"), &args).succeeded();
    let reported: Value = serde_json::from_str(&reported.stdout).expect("one JSON object");
    for key in ["samples", "supervised", "token_accuracy"] {
        assert_eq!(reported[key], evaluated[1][key], "{key}");
    }
    NLL.assert_near("nll", number(&reported, "nll"), number(evaluated[1], "nll"));
}

#[test]
fn a_dry_run_tells_the_plan_and_writes_nothing() {
    let workspace = Workspace::new();
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--dry-run",
        "--json",
    ];
    let plan = workspace.run(CADFT, &args).succeeded();
    let plan: Value = serde_json::from_str(plan.stdout.trim()).expect("one JSON object");
    assert_eq!(plan["steps"], 20);
    assert!(
        plan["warnings"]
            .to_string()
            .contains("standardised over 8 samples"),
        "{plan}"
    );
    assert!(!workspace.path("run").exists());
}

#[test]
fn a_gate_that_stays_low_is_told_once_with_the_remedies() {
    let workspace = Workspace::new();
    // An untrained model gives every target a probability of about 1/vocab.
    let args = [
        "train",
        "--recipe",
        "recipe.dft.toml",
        "--out",
        "run",
        "--set",
        "model.init=random",
    ];
    let outcome = workspace.run(CADFT, &args).succeeded();
    let events = lines(&read(&workspace.path("run/metrics.jsonl")));
    let warned: Vec<&Value> = events.iter().filter(|line| line["event"] == "warned").collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("gate")),
        "{warned:?}"
    );
    for remedy in ["loss.start", "objective.cadft.gate"] {
        assert!(outcome.stderr.contains(remedy), "{}", outcome.stderr);
    }
}

#[test]
fn the_quickstart_learns_and_answers() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let directory = out.path().join("run");
    let path = directory.to_str().expect("a UTF-8 path");
    let args = [
        "train",
        "--out",
        path,
        "--set",
        "schedule.steps=30",
        "--set",
        "evaluate.answers=40",
    ];
    let _ = run(CADFT, out.path(), &args).succeeded();
    let events = lines(&read(&directory.join("metrics.jsonl")));
    let finished = events.last().expect("a last event");
    assert_eq!(finished["event"], "finished");
    let pair = |table: &str, key: &str| [0, 1].map(|i| number(&finished[table][i], key));
    let [before, after] = pair("evaluation", "nll");
    assert!(after < 0.5 * before, "evaluation NLL from {before} to {after}");
    let [before, after] = pair("answers", "accuracy");
    assert!(after > before + 0.1, "accuracy from {before} to {after}");
    // A fifth of the demonstrations is incompatible: some samples get small weights, most do not.
    let steps = steps(&read(&directory.join("metrics.jsonl")));
    let weighted: Vec<&Value> = steps.iter().filter(|step| step["objective"] == "cadft").collect();
    assert_eq!(weighted.len(), 24, "a fifth of the steps starts with NLL");
    assert!(weighted.iter().any(|step| number(step, "max_z") > 1.5));
    assert!(
        weighted
            .iter()
            .all(|step| (0.5..1.0).contains(&number(step, "mean_weight")))
    );
}
