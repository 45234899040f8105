//! A whole run against an independent trainer in `PyTorch` (`python/reference_trainer.py` in the repository), and the
//! model that the run saved.

use super::Bench;
use super::report::{Report, largest_error, worst};
use crate::tolerance::{EXACT, RUN};
use anyhow::{Context, Result, anyhow, ensure};
use cadft_kernels::Tf32;
use cadft_model::{SaveOptions, checkpoint};
use cadft_train::run_files::MODEL;
use cadft_train::{Event, Prepared, Recipe, RunDirectory, StepMetrics, config};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// The metrics that the reference has for every step.
const COMPARED: [&str; 9] = [
    "loss",
    "nll",
    "mean_gate",
    "mean_weight",
    "ess",
    "mu",
    "sigma",
    "max_z",
    "grad_norm",
];

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let directory = bench.directory.join("run");
    let out = directory.join("out");
    let expected =
        fs::read_to_string(directory.join("expected.exact.jsonl")).context("cannot read the reference")?;
    let expected: Vec<Value> = (expected.lines())
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("the reference is no JSON")?;
    let found = train(bench, recipe(bench, &directory)?, &out)?;
    ensure!(
        found.len() == expected.len(),
        "{} steps, not {}",
        found.len(),
        expected.len()
    );
    for key in COMPARED {
        let errors: Vec<f64> = (found.iter().zip(&expected))
            .map(|(found, expected)| {
                let number = |line: &Value| line[key].as_f64().unwrap_or(f64::NAN);
                largest_error(&[number(found)], &[number(expected)], RUN)
            })
            .collect();
        report.measured(&format!("training: {key}"), worst(errors), RUN)?;
    }
    saved(bench, &out.join(MODEL), &directory.join("again"), report)
}

/// The recipe, with absolute paths.
fn recipe(bench: &Bench<'_>, directory: &Path) -> Result<Recipe> {
    let text = fs::read_to_string(directory.join("recipe.toml")).context("cannot read the recipe")?;
    let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let mut recipe = config::parse("recipe.toml", &text, &[])?;
    recipe.model.path = path("model");
    recipe.model.tf32 = bench.tf32 == Tf32::Allowed;
    recipe.data.eval.clear();
    let source = recipe.data.train.first_mut().context("the recipe has no data")?;
    source.path = path("messages.jsonl");
    Ok(recipe)
}

/// The metrics of every step.
fn train(bench: &Bench<'_>, recipe: Recipe, out: &Path) -> Result<Vec<Value>> {
    let prepared = Prepared::new(recipe, &bench.device)?;
    let mut directory = RunDirectory::create(out, &prepared.recipe, bench.device_name)?;
    let mut steps: Vec<StepMetrics> = vec![];
    let never = AtomicBool::new(false);
    let model = prepared.model()?;
    cadft_train::train(&prepared, model, &mut directory, &never, &mut |event| {
        if let Event::Step(metrics) = event {
            steps.push(metrics.clone());
        }
    })?;
    let steps = steps.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    steps.map_err(|error| anyhow!(error))
}

/// Loads the model of the run and saves it again: the bytes must be equal.
fn saved(bench: &Bench<'_>, model: &Path, again: &Path, report: &mut Report) -> Result<()> {
    let loaded = checkpoint::load(model, &bench.device)?;
    let options = SaveOptions {
        carry_from: Some(model.to_owned()),
        ..SaveOptions::default()
    };
    checkpoint::save(again, &loaded.model, &loaded.config, &options)?;
    let weights =
        |directory: &Path| fs::read(directory.join("model.safetensors")).context("cannot read weights");
    let (first, second) = (weights(model)?, weights(again)?);
    let differing = if first.len() == second.len() {
        first.iter().zip(&second).filter(|(a, b)| a != b).count() as f64
    } else {
        f64::INFINITY
    };
    report.measured("loading and saving, bytes that differ", differing, EXACT)
}
