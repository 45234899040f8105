//! The estimate of `cadft train --dry-run` compared with the peak of the run, each run in a separate process: `cargo
//! xtask bench memory`.
//!
//!     memory-estimate MODEL DATA
//!
//! Prints one JSON object for each setting: the plan's estimate, the largest resident memory that the system reports,
//! and their ratio. Runs have two steps: in the second, moments exist and memory is at its peak.

use cadft_train::config::{self, Recipe};
use cadft_train::{Prepared, RunDirectory, device, peak_rss_mib, train};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::AtomicBool;

const RECIPE: &str = r#"
objective = "nll"

[data]
max-length = 512
order = "sequential"

[batch]
global = 4

[optimizer]
lr = 1e-4

[schedule]
steps = 2

[checkpoint]
every = 0
"#;

/// Names of settings, and the changes to the recipe.
const SETTINGS: [(&str, &[&str]); 12] = [
    ("full, micro 1", &["batch.micro=1"]),
    ("full, micro 2", &["batch.micro=2"]),
    ("full, micro 4", &["batch.micro=4"]),
    (
        "full, micro 1, blocks",
        &["batch.micro=1", "model.recompute=blocks"],
    ),
    (
        "full, micro 4, blocks",
        &["batch.micro=4", "model.recompute=blocks"],
    ),
    ("full, micro 4, bf16", &["batch.micro=4", "model.precision=bf16"]),
    ("full, max-tokens 512", &["batch.max-tokens=512"]),
    (
        "full, packed, 1 row",
        &["batch.packing=best-fit", "batch.micro=1"],
    ),
    ("LoRA, micro 1", &["adapter.rank=16", "batch.micro=1"]),
    ("LoRA, micro 4", &["adapter.rank=16", "batch.micro=4"]),
    (
        "LoRA, micro 4, blocks",
        &["adapter.rank=16", "batch.micro=4", "model.recompute=blocks"],
    ),
    (
        "LoRA, micro 4, bf16",
        &["adapter.rank=16", "batch.micro=4", "model.precision=bf16"],
    ),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [model, data] => all(model, data),
        ["run", ref overrides @ ..] => println!("{}", measure(overrides)),
        _ => panic!("unknown arguments {arguments:?}"),
    }
}

/// Measures all settings, one after the other.
fn all(model: &str, data: &str) {
    for (name, settings) in SETTINGS {
        let program = std::env::current_exe().expect("this program has a path");
        let output = Command::new(program)
            .args([
                "run",
                &format!("model.path={model}"),
                &format!("data.train=[\"{data}\"]"),
            ])
            .args(settings)
            .output()
            .expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let mut found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        found["setting"] = json!(name);
        println!("{found}");
    }
}

/// Trains in this process.
fn measure(overrides: &[&str]) -> Value {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    let recipe: Recipe = config::parse("recipe", RECIPE, &overrides).expect("a recipe");
    let prepared = Prepared::new(recipe, &device::parse("flex").expect("flex")).expect("a run");
    let model = prepared.model().expect("a model");
    let parent = tempfile::tempdir().expect("a temporary directory");
    let path = parent.path().join("run");
    let mut directory = RunDirectory::create(&path, &prepared.recipe, "flex").expect("a directory");
    let stop = AtomicBool::new(false);
    let _ = train(&prepared, model, &mut directory, &stop, &mut |_| {}).expect("a run");
    let peak = peak_rss_mib().expect("this measurement needs Linux");
    let estimate = prepared.plan.memory_mib;
    json!({"estimate_mib": estimate.round(), "peak_mib": peak.round(), "ratio": estimate / peak})
}
