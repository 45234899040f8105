//! A custom training loop: from the rows of a file to a trained model.
//!
//! `cargo run --release --example own_loop`

use burn::tensor::Device;
use cadft_core::{Cadft, Normalisation, RunningMoments};
use cadft_data::{Example, Mask, Order, TokenizeOptions, Tokenizer, read_file, tokenize};
use cadft_model::checkpoint;
use cadft_step::{
    GlobalBatch, MicroBatching, Optimizer, OptimizerOptions, Sampler, Schedule, ScheduleKind, StepSettings,
    StepState, step,
};
use std::error::Error;
use std::path::Path;

const STEPS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cadft-cli/assets/quickstart");

    // Gradients need a device with autodiff.
    let device = Device::flex().autodiff();
    let mut model = checkpoint::load(&assets, &device)?.model;
    let tokenizer = Tokenizer::from_dir(&assets)?;
    let options = TokenizeOptions::new(256, Mask::Assistant);
    let samples = tokenize(&read_file(&assets.join("train.jsonl"))?, &tokenizer, &options)?.examples;

    let objective = Cadft::default();
    let schedule = Schedule {
        lr: 5e-4,
        kind: ScheduleKind::Cosine,
        warmup_steps: 2,
        total_steps: STEPS,
    };
    let mut sampler = Sampler::new(samples.len(), 16, Order::Shuffled, 42);
    let optimizer = Optimizer::new(&OptimizerOptions::default());
    let mut state = StepState::new(optimizer, RunningMoments::new(0.99));
    for number in 1..=STEPS {
        let chosen = sampler.samples_of(number);
        let chosen: Vec<&Example> = chosen.iter().map(|&sample| &samples[sample]).collect();
        // 16 samples make one update. They go through the model 8 at a time.
        let batch = GlobalBatch::new(&chosen, &MicroBatching::rows(8), &device);
        let settings = StepSettings {
            objective: &objective,
            reference: None,
            normalisation: Normalisation::TokenMean,
            lr: schedule.at(number),
            clip: 1.0,
        };
        let outcome;
        (model, outcome) = step(model, &batch, &settings, &mut state);
        if let Some(what) = outcome.not_finite() {
            return Err(format!("step {number}: the {what} is not finite").into());
        }
        let lowest = outcome.weights.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "step {number}  loss {:.4}  NLL {:.4}  lowest weight {lowest:.3}",
            outcome.loss,
            outcome.nll_sum / batch.counts().supervised as f64,
        );
    }
    println!("{} parameters are trained", model.named_parameters().len());
    Ok(())
}
