//! `cadft bench`: how fast a device trains a model of some shape, with random weights and random text.
//!
//! Objectives are taken in turns of a few steps, on the same model and optimizer, so that what disturbs one disturbs all.
//!
//! The steps of a turn overlap as those of a run do: one is in flight while the next begins. A turn begins and ends with
//! nothing to do for the device, and its steps last from the end of one to the end of the next, so that they add up to it:
//! the first holds some of the second, and the last is shorter by that.

use crate::args::BenchArgs;
use crate::exit::Exit;
use crate::hint::UsageError;
use crate::{device, output};
use anyhow::Result;
use burn::tensor::{DType, Device};
use cadft_core::{AnyObjective, Normalisation, Objective, RunningMoments, Statistics};
use cadft_data::{Bucketing, Example, Origin};
use cadft_kernels::{Tf32, set_tf32};
use cadft_model::decoder::Precision;
use cadft_model::{CausalLm, ModelConfig, flops};
use cadft_step::StepOutcome;
use cadft_step::batch::GlobalBatch;
use cadft_step::optimizer::AdamW;
use cadft_step::step::{StepSettings, StepState, begin};
use cadft_step::{AdamWOptions, MicroBatching};
use cadft_train::config::OptimizerSection;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

const SEED: u64 = 42;
/// Steps of a turn.
const TURN: usize = 5;
/// Values that are drawn, and repeated: what a step takes does not depend on them being all different.
const DRAWN: usize = (1 << 20) - 3;

/// What was measured of one objective.
#[derive(Serialize)]
struct Measured {
    objective: String,
    device: String,
    parameters: usize,
    tokens: usize,
    /// Of each timed step, from the end of the one before.
    secs: Vec<f64>,
    median_secs: f64,
    tokens_per_sec: f64,
    /// Operations of a step, by the count of `cadft_model::flops`, over its time.
    model_tflops_per_sec: f64,
    /// What the device's allocator holds after the steps, if it reports that. It keeps what it once had.
    device_mib: Option<u64>,
    first_nll: f64,
    last_nll: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Result<Exit> {
    let config = model_config(&args.config)?;
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
    let batch = batch(args, &config, &device);
    let model = model(args, &config, &device);
    let parameters = (model.named_parameters().iter())
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum();
    let seen = train(args, model, &batch, &objectives)?;
    let operations = flops::training(&config, args.length) * batch.tokens as f64;
    let device_mib = (device.memory_pool_usage()).map(|usage| usage.bytes_reserved >> 20);
    for (objective, Seen { secs, nll }) in objectives.iter().zip(seen) {
        let median_secs = median(&secs);
        let measured = Measured {
            objective: objective.name().to_owned(),
            device: name.to_owned(),
            parameters,
            tokens: batch.tokens,
            median_secs,
            tokens_per_sec: batch.tokens as f64 / median_secs,
            model_tflops_per_sec: operations / median_secs / 1e12,
            device_mib,
            first_nll: nll.first().copied().unwrap_or(f64::NAN),
            last_nll: nll.last().copied().unwrap_or(f64::NAN),
            secs,
        };
        print(args, &measured)?;
    }
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

fn model_config(path: &Path) -> Result<ModelConfig> {
    let file = if path.is_dir() {
        path.join("config.json")
    } else {
        path.to_owned()
    };
    Ok(ModelConfig::from_file(&file)?)
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

/// Samples of one length, of random tokens.
fn batch(args: &BenchArgs, config: &ModelConfig, device: &Device) -> GlobalBatch {
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    let vocab = u32::try_from(config.vocab_size).unwrap_or(u32::MAX);
    let mut token_ids = || {
        (0..args.length)
            .map(|_| generator.random_range(0..vocab))
            .collect()
    };
    let samples: Vec<Example> = (0..args.global)
        .map(|index| Example {
            id: index.to_string(),
            weight: 1.0,
            token_ids: token_ids(),
            prompt_len: 1,
            loss_mask: (0..args.length).map(|token| token > 0).collect(),
            answer: None,
            origin: Origin::default(),
        })
        .collect();
    let section = MicroBatching {
        micro: args.micro.unwrap_or(args.global),
        bucketing: Bucketing::None,
        ..MicroBatching::default()
    };
    GlobalBatch::new(&samples.iter().collect::<Vec<_>>(), &section, device)
}

fn model(args: &BenchArgs, config: &ModelConfig, device: &Device) -> CausalLm {
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    // Uniform, with the standard deviation of a fresh model.
    let most = config.initializer_range as f32 * 3f32.sqrt();
    let drawn: Vec<f32> = (0..DRAWN).map(|_| generator.random_range(-most..most)).collect();
    let mut values = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        if shape.len() == 1 {
            let is_bias = name.ends_with(".bias");
            return vec![if is_bias { 0.0 } else { 1.0 }; count];
        }
        let mut values = drawn[generator.random_range(0..DRAWN)..].to_vec();
        while values.len() < count {
            values.extend_from_slice(&drawn);
        }
        values.truncate(count);
        values
    };
    CausalLm::with_values(config, device, &mut values)
        .with_precision(args.precision)
        .with_recompute(args.recompute)
}

/// Times and likelihoods of one objective's steps.
#[derive(Clone, Default)]
struct Seen {
    secs: Vec<f64>,
    nll: Vec<f64>,
}

fn train(
    args: &BenchArgs,
    mut model: CausalLm,
    batch: &GlobalBatch,
    objectives: &[AnyObjective],
) -> Result<Vec<Seen>> {
    let optimizer = AdamW::new(&AdamWOptions::default());
    let mut state = StepState::new(optimizer, RunningMoments::new(0.99));
    let looks_at_reference = objectives.iter().any(|objective| objective.reference().is_some());
    let reference = looks_at_reference.then(|| model.reference());
    let mut seen = vec![Seen::default(); objectives.len()];
    for (mut left, is_timed) in [(args.warmup, false), (args.steps, true)] {
        while left > 0 {
            let steps = left.min(TURN);
            left -= steps;
            for (objective, seen) in objectives.iter().zip(&mut seen) {
                let turn;
                (model, turn) = self::turn(model, reference.as_ref(), batch, objective, steps, &mut state)?;
                seen.nll.extend(turn.nll);
                if is_timed {
                    seen.secs.extend(turn.secs);
                }
            }
        }
    }
    Ok(seen)
}

/// Some steps with one objective.
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
        // Its update is queued: the turn is over when the device has done it.
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
