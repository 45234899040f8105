//! A whole run with an objective that recipes do not have. Metrics, checkpoints and the model are as in any other run.
//!
//! `cargo run --release --example own_objective`

use burn::tensor::Tensor;
use cadft_core::{Objective, TokenStats};
use cadft_train::{Event, Prepared, RunDirectory, config, device, train};
use std::error::Error;
use std::sync::atomic::AtomicBool;

/// `g = (1 − p)²`: tokens that the model predicts well get little weight, as in the focal loss (arXiv 1708.02002).
#[derive(Debug)]
struct Focal;

impl Objective for Focal {
    fn name(&self) -> &str {
        "focal-2"
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let unlikely = stats.log_probs.clone().exp().neg() + 1.0;
        unlikely.clone() * unlikely
    }

    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/../cadft-cli/assets/quickstart");
    let runs = tempfile::tempdir()?;

    let text = format!(
        "[model]\npath = '{assets}'\n[data]\ntrain = ['{assets}/train.jsonl']\ncache = 'off'\n\
         [batch]\nglobal = 16\nmicro = 8\n[schedule]\nsteps = 6\n[checkpoint]\nevery = 3\n"
    );
    let recipe = config::parse("example", &text, &[])?.with_objective(Box::new(Focal))?;
    let prepared = Prepared::new(recipe, &device::parse("flex")?)?;
    let out = runs.path().join("run");
    let mut directory = RunDirectory::create(&out, &prepared.recipe, "flex")?;
    let stop = AtomicBool::new(false);
    let summary = train(
        &prepared,
        prepared.model()?,
        &mut directory,
        &stop,
        &mut |event| match event {
            Event::Step(metrics) => {
                println!(
                    "step {}  {}  loss {:.4}  NLL {:.4}  mean gate {:.3}",
                    metrics.step, metrics.objective, metrics.loss, metrics.nll, metrics.mean_gate
                );
            }
            Event::Warned { warning, .. } => eprintln!("{} ({})", warning.message, warning.hint),
            _ => {}
        },
    )?;
    println!("{} steps, {}", summary.steps, summary.model.display());
    Ok(())
}
