//! The event files of a run, read by the Python package `tensorboard`.

use cadft_tests::Workspace;
use cadft_tests::command::{lines, steps};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The output of `python/check_tensorboard.py` for a directory.
fn read(directory: &Path) -> Value {
    let python = env::var_os("CADFT_TENSORBOARD_PYTHON")
        .expect("`cargo xtask test --real` names a Python with tensorboard");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python/check_tensorboard.py");
    let output = Command::new(python)
        .arg(script)
        .arg(directory)
        .output()
        .expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(!errors.to_lowercase().contains("corrupt"), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn tensorboard_reads_every_value_of_a_run() {
    let workspace = Workspace::new();
    let settings = [
        "log.tensorboard=true",
        "log.samples=5",
        "data.eval=[\"eval.jsonl\"]",
    ];
    let directory = workspace.trained(env!("CARGO_BIN_EXE_cadft-under-test"), &settings);
    let metrics = fs::read_to_string(directory.join("metrics.jsonl")).expect("metrics");
    let found = read(&directory.join("tensorboard"));
    let scalar = |tag: &str| -> Vec<(u64, f64)> {
        let values = found["scalars"][tag]
            .as_array()
            .unwrap_or_else(|| panic!("no {tag} in {found}"));
        values
            .iter()
            .map(|pair| {
                (
                    pair[0].as_u64().expect("a step"),
                    pair[1].as_f64().expect("a value"),
                )
            })
            .collect()
    };
    for (tag, key) in [
        ("loss", "loss"),
        ("nll", "nll"),
        ("grad_norm", "grad_norm"),
        ("learning_rate", "lr"),
    ] {
        let curve = scalar(&format!("train/{tag}"));
        let steps = steps(&metrics);
        assert_eq!(curve.len(), steps.len());
        for ((step, value), line) in curve.iter().zip(&steps) {
            assert_eq!(Some(*step), line["step"].as_u64());
            let wanted = line[key].as_f64().expect("a number");
            assert!(
                (value - wanted).abs() <= 1e-6 * wanted.abs(),
                "{tag}: {value} is not {wanted}"
            );
        }
    }
    let evaluated = lines(&metrics)
        .into_iter()
        .filter(|line| line["event"] == "evaluated")
        .count();
    assert_eq!(scalar("eval/nll").len(), evaluated);
    let weights = found["histograms"]["train/sample_weight"]
        .as_array()
        .expect("histograms");
    assert_eq!(weights.len(), 5);
    assert!(weights.iter().all(|entry| entry[1] == 8.0), "{weights:?}");
    let recipe = found["texts"].to_string();
    assert!(
        recipe.contains("log.tensorboard") || recipe.contains("tensorboard = true"),
        "{recipe}"
    );
}
