//! `cadft bench`: how fast a device trains a model of some shape, with random weights and random text, or given ones.
//!
//! Objectives take turns of a few steps on the same model and optimizer, so that a disturbance affects all of them.
//!
//! Within a turn, steps overlap as in a run: one is in flight while the next begins. The device is idle when a turn
//! begins and when it ends. A step is timed from the end of the step before to its own end, so that the times of a turn
//! add up to its duration. The first step therefore includes some of the second, and the last is shorter by the same
//! time.

mod inputs;

use crate::allocator;
use crate::args::BenchArgs;
use crate::console::next;
use crate::exit::Exit;
use crate::hint::UsageError;
use crate::{device, output};
use anyhow::Result;
use burn::tensor::DType;
use cadft_core::{AnyObjective, Normalisation, Objective, RunningMoments, Statistics};
use cadft_data::Example;
use cadft_kernels::{Tf32, set_tf32};
use cadft_model::decoder::Precision;
use cadft_model::{CausalLm, flops};
use cadft_step::OptimizerOptions;
use cadft_step::StepOutcome;
use cadft_step::batch::GlobalBatch;
use cadft_step::optimizer::Optimizer;
use cadft_step::step::{StepSettings, StepState, begin};
use cadft_train::config::OptimizerSection;
use cadft_train::{Usage, peak_rss_mib};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Instant;

/// Steps of a turn.
const TURN: usize = 5;

/// The measurements of one objective.
#[derive(Serialize, JsonSchema)]
pub(super) struct Measured {
    /// Its name.
    objective: String,
    /// The backend.
    device: String,
    /// Parameters of the model.
    parameters: usize,
    /// Tokens of a step.
    tokens: usize,
    /// Seconds of each timed step, from the end of the step before.
    secs: Vec<f64>,
    /// Their median.
    median_secs: f64,
    /// Tokens of a step over the median.
    tokens_per_sec: f64,
    /// Operations of a step, counted by `cadft_model::flops`, divided by its time.
    model_tflops_per_sec: f64,
    /// Processor time of a step, the mean of all timed ones.
    cpu_secs: f64,
    /// Pages that a step touches for the first time, the mean of all timed ones.
    page_faults: u64,
    /// Largest resident memory of the process, in MiB, if the system reports it.
    peak_rss_mib: Option<f64>,
    /// What the device's allocator holds after the steps, if it reports that. It keeps what it once had.
    device_mib: Option<u64>,
    /// Likelihood of the first step.
    first_nll: f64,
    /// Likelihood of the last step.
    last_nll: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Result<Exit> {
    let objectives = objectives(args)?;
    let name = device::name(args.device.device.as_deref());
    let device = device::open(name)?.autodiff();
    if args.precision == Precision::Bf16 && !device.supports_dtype(DType::BF16) {
        return Err(UsageError::new(
            format!("`--precision`: `{name}` has no bf16"),
            "measure with `--precision f32`, or on another device; `cadft doctor` shows the formats of each",
        )
        .into());
    }
    set_tf32(Tf32::from_flag(args.tf32));
    let (config, model) = inputs::model(args, &device)?;
    let samples = inputs::samples(args, &config)?;
    let samples: Vec<&Example> = samples.iter().collect();
    let batch = inputs::batch(args, &samples, &device);
    let parameters = (model.named_parameters().iter())
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum();
    allocator::keep_memory();
    let seen = train(args, model, (&batch, &samples), &objectives)?;
    let operations: f64 = (samples.iter())
        .map(|sample| flops::training(&config, sample.token_ids.len()) * sample.token_ids.len() as f64)
        .sum();
    let device_mib = (device.memory_pool_usage()).map(|usage| usage.bytes_reserved >> 20);
    for (objective, Seen { secs, nll, used }) in objectives.iter().zip(seen) {
        let median_secs = median(&secs);
        let measured = Measured {
            objective: objective.name().to_owned(),
            device: name.to_owned(),
            parameters,
            tokens: batch.tokens,
            median_secs,
            tokens_per_sec: batch.tokens as f64 / median_secs,
            model_tflops_per_sec: operations / median_secs / 1e12,
            cpu_secs: used.cpu_secs / secs.len().max(1) as f64,
            page_faults: used.page_faults / secs.len().max(1) as u64,
            peak_rss_mib: peak_rss_mib(),
            device_mib,
            first_nll: nll.first().copied().unwrap_or(f64::NAN),
            last_nll: nll.last().copied().unwrap_or(f64::NAN),
            secs,
        };
        print(args, &measured)?;
    }
    next::measured(name);
    Ok(Exit::Done)
}

fn print(args: &BenchArgs, measured: &Measured) -> Result<()> {
    if args.json {
        return output::json_line(measured);
    }
    output::line(format!(
        "{:<8} {:8.3} s a step, {:10.1} tokens/s, {:8.2} TFLOP/s",
        measured.objective, measured.median_secs, measured.tokens_per_sec, measured.model_tflops_per_sec
    ))
}

fn objectives(args: &BenchArgs) -> Result<Vec<AnyObjective>> {
    let named = args.objectives.iter().map(|name| {
        let objective = AnyObjective::from_name(name).ok_or_else(|| {
            UsageError::new(
                format!("`--objectives`: unknown objective `{name}`"),
                format!("known are {}", AnyObjective::NAMES.join(", ")),
            )
        })?;
        Ok(if args.running {
            objective.with_statistics(Statistics::Running)
        } else {
            objective
        })
    });
    named.collect()
}

/// Times and likelihoods of one objective's steps.
#[derive(Clone, Default)]
struct Seen {
    secs: Vec<f64>,
    nll: Vec<f64>,
    used: Usage,
}

fn train(
    args: &BenchArgs,
    mut model: CausalLm,
    (batch, samples): (&GlobalBatch, &[&Example]),
    objectives: &[AnyObjective],
) -> Result<Vec<Seen>> {
    let optimizer = Optimizer::new(&OptimizerOptions::default());
    let mut state = StepState::new(optimizer, RunningMoments::new(0.99));
    let looks_at_reference = objectives.iter().any(|objective| objective.reference().is_some());
    let reference = looks_at_reference.then(|| model.reference());
    // As in a run, what a frozen model says of tokens is known before the first step.
    let frozen = model.reference();
    let batches: Vec<GlobalBatch> = (objectives.iter())
        .map(|objective| batch.clone().compared_with(&frozen, samples, objective))
        .collect();
    drop(frozen);
    let mut seen = vec![Seen::default(); objectives.len()];
    for (mut left, is_timed) in [(args.warmup, false), (args.steps, true)] {
        while left > 0 {
            let steps = left.min(TURN);
            left -= steps;
            for ((objective, batch), seen) in objectives.iter().zip(&batches).zip(&mut seen) {
                let turn;
                let before = Usage::now().unwrap_or_default();
                (model, turn) = self::turn(model, reference.as_ref(), batch, objective, steps, &mut state)?;
                seen.nll.extend(turn.nll);
                if is_timed {
                    let used = Usage::now().unwrap_or_default().since(before);
                    seen.used.cpu_secs += used.cpu_secs;
                    seen.used.page_faults += used.page_faults;
                    seen.secs.extend(turn.secs);
                }
            }
        }
    }
    Ok(seen)
}

/// Runs `steps` steps with one objective.
fn turn(
    mut model: CausalLm,
    reference: Option<&CausalLm>,
    batch: &GlobalBatch,
    objective: &AnyObjective,
    steps: usize,
    state: &mut StepState,
) -> Result<(CausalLm, Seen)> {
    let settings = StepSettings {
        objective,
        reference,
        normalisation: Normalisation::TokenMean,
        lr: 1e-5,
        clip: OptimizerSection::default().clip,
    };
    let supervised: usize = batch.supervised.iter().sum();
    let mut seen = Seen::default();
    let mut since = Instant::now();
    let mut see = |outcome: &StepOutcome, at: Instant| {
        let secs = at.saturating_duration_since(since).as_secs_f64();
        since = at;
        tracing::info!(objective = objective.name(), secs, "step");
        seen.secs.push(secs);
        seen.nll.push(outcome.nll_sum / supervised as f64);
    };
    for _ in 0..steps {
        let begun = begin(&model, batch, &settings, state);
        if let Some(before) = &begun.before {
            see(&before.outcome, before.at);
        }
        model = begun.update(model, state);
    }
    if let Some(last) = state.settle() {
        // The update of the last step is only queued: the turn ends when the device has done it.
        model.device().sync()?;
        see(&last.outcome, Instant::now());
    }
    Ok((model, seen))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
