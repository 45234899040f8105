//! The cost of checkpoints for a run, measured in a separate process: `cargo xtask bench checkpoints`.
//!
//! Trains a model of 27 million parameters alternately with and without checkpoints, and prints one JSON object.
//! `stall_over_write` is the time for which the loop waited, divided by the duration of writing. `slower_over_write`
//! also includes the time that steps lost while a checkpoint was written in the background.

use cadft_tests::{Workspace, command};
use cadft_train::config::{self, Recipe};
use cadft_train::{Event, Prepared, RunDirectory, device, train};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Number of runs of each kind.
const ROUNDS: usize = 3;
const STEPS: usize = 12;
/// Number of steps between two checkpoints.
const EVERY: usize = 4;

struct Measured {
    step_secs: f64,
    write_secs: f64,
    stall_secs: f64,
    checkpoints: usize,
}

fn measure(workspace: &Workspace, name: &str, every: usize) -> Measured {
    let text = std::fs::read_to_string(workspace.path("recipe.nll.toml")).expect("the recipe");
    let overrides = [
        format!("model.path={}", workspace.path("model").display()),
        "model.init=random".to_owned(),
        format!("data.train=[\"{}\"]", workspace.path("messages.jsonl").display()),
        "data.eval=[]".to_owned(),
        format!("schedule.steps={STEPS}"),
        format!("checkpoint.every={every}"),
        "checkpoint.keep=1".to_owned(),
    ];
    let recipe: Recipe = config::parse("recipe", &text, &overrides).expect("a recipe");
    let prepared = Prepared::new(recipe, &device::parse("flex").expect("flex")).expect("a run");
    let model = prepared.model().expect("a model");
    let path = workspace.path(name);
    let mut directory = RunDirectory::create(&path, &prepared.recipe, "flex").expect("a directory");
    let mut step_secs = 0.0;
    let stop = AtomicBool::new(false);
    let _ = train(&prepared, model, &mut directory, &stop, &mut |event| {
        if let Event::Step(metrics) = event {
            step_secs += metrics.tokens as f64 / metrics.tokens_per_sec;
        }
    })
    .expect("a run");
    let saved = saved(&path);
    let sum = |key: &str| saved.iter().filter_map(|event| event[key].as_f64()).sum();
    Measured {
        step_secs,
        write_secs: sum("write_secs"),
        stall_secs: sum("stall_secs"),
        checkpoints: saved.len(),
    }
}

/// The checkpoints of a run, without its final model.
fn saved(run: &Path) -> Vec<Value> {
    let history = std::fs::read_to_string(run.join("history.jsonl")).expect("a history");
    let mut events = command::lines(&history);
    events.retain(|event| event["event"] == "saved" && event["path"].to_string().contains("checkpoints"));
    events
}

fn main() {
    let workspace = Workspace::new();
    let path = workspace.path("model/config.json");
    let text = std::fs::read_to_string(&path).expect("a config");
    let mut model: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in [
        ("hidden_size", 512),
        ("intermediate_size", 1536),
        ("num_hidden_layers", 8),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 8),
    ] {
        model[key] = json!(value);
    }
    workspace.write("model/config.json", &model.to_string());
    let mut total = [0.0; 4];
    let mut checkpoints = 0;
    for round in 0..ROUNDS {
        let without = measure(&workspace, &format!("without-{round}"), 0);
        let with = measure(&workspace, &format!("with-{round}"), EVERY);
        checkpoints += with.checkpoints;
        for (sum, value) in total.iter_mut().zip([
            without.step_secs,
            with.step_secs,
            with.write_secs,
            with.stall_secs,
        ]) {
            *sum += value;
        }
    }
    let [without, with, write, stall] = total;
    println!(
        "{}",
        json!({
            "checkpoints": checkpoints,
            "step_secs_without": without,
            "step_secs_with": with,
            "write_secs": write,
            "stall_secs": stall,
            "stall_over_write": stall / write,
            "slower_over_write": (with - without + stall) / write,
        })
    );
}
