//! A custom objective, and a training loop that takes any objective.

use cadft_core::burn::tensor::{Device, Tensor};
use cadft_core::{Normalisation, Objective, Reference, RunningMoments, TokenStats};
use cadft_data::{Example, Mask, Order, TokenizeOptions, Tokenizer, read_file, tokenize};
use cadft_model::{CausalLm, checkpoint};
use cadft_step::{
    GlobalBatch, MicroBatching, Optimizer, OptimizerOptions, Sampler, Schedule, ScheduleKind, StepOutcome,
    StepSettings, StepState, step,
};
use std::error::Error;
use std::path::Path;

/// Number of samples in a step.
const GLOBAL: usize = 8;

/// `g = (1 − p)^γ`, with an optional divergence from the model that the run began with.
#[derive(Debug)]
pub struct Focal {
    /// The name in metrics and checkpoints.
    pub name: &'static str,
    /// The exponent `γ`.
    pub gamma: f64,
    /// Factor of the divergence; absent if there is none.
    pub anchor: Option<f64>,
}

impl Objective for Focal {
    fn name(&self) -> &str {
        self.name
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        let unlikely = stats.log_probs.clone().exp().neg() + 1.0;
        unlikely.powf_scalar(self.gamma)
    }

    fn reference(&self) -> Option<Reference> {
        self.anchor.map(|strength| Reference::Anchor { strength })
    }

    fn low_gate_means_unlikely(&self) -> bool {
        false
    }
}

/// Trains the model in `directory` on the first rows of `data`, all of them in every step, without a recipe and without a run.
///
/// # Errors
/// Errors of the model or the data.
pub fn trained(
    directory: &Path,
    data: &Path,
    objective: &dyn Objective,
    steps: usize,
) -> Result<(CausalLm, Vec<StepOutcome>), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let mut model = checkpoint::load(directory, &device)?.model;
    let reference = objective.reference().map(|_| model.reference());
    let tokenizer = Tokenizer::from_dir(directory)?;
    let options = TokenizeOptions::new(512, Mask::Assistant);
    let mut samples = tokenize(&read_file(data)?, &tokenizer, &options)?.examples;
    samples.truncate(GLOBAL);
    let schedule = Schedule {
        lr: 1e-3,
        kind: ScheduleKind::Constant,
        warmup_steps: 0,
        total_steps: steps,
    };
    let mut sampler = Sampler::new(samples.len(), GLOBAL, Order::Sequential, 42);
    let mut state = StepState::new(
        Optimizer::new(&OptimizerOptions::default()),
        RunningMoments::new(0.99),
    );
    let mut outcomes = vec![];
    for number in 1..=steps {
        let chosen = sampler.samples_of(number);
        let chosen: Vec<&Example> = chosen.iter().map(|&sample| &samples[sample]).collect();
        let batch = GlobalBatch::new(&chosen, &MicroBatching::rows(4), &device);
        let settings = StepSettings {
            objective,
            reference: reference.as_ref(),
            normalisation: Normalisation::TokenMean,
            lr: schedule.at(number),
            clip: 1.0,
        };
        let outcome;
        (model, outcome) = step(model, &batch, &settings, &mut state);
        outcomes.push(outcome);
    }
    Ok((model, outcomes))
}
