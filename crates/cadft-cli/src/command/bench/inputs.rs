//! What is trained on what: a shape with random weights, or a checkpoint; random text, or given samples.

use crate::args::BenchArgs;
use crate::hint::UsageError;
use anyhow::{Context, Result};
use burn::tensor::Device;
use cadft_data::{Bucketing, Example, Origin};
use cadft_model::{
    AdapterConfig, AdapterKind, AdapterScaling, CausalLm, ModelConfig, TargetModules, checkpoint,
};
use cadft_step::MicroBatching;
use cadft_step::batch::GlobalBatch;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const SEED: u64 = 42;
/// Values that are drawn, and repeated: what a step takes does not depend on them being all different.
const DRAWN: usize = (1 << 20) - 3;

/// A line of `--samples`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    token_ids: Vec<u32>,
    /// Tokens before the first that is trained.
    prompt_len: usize,
}

/// The model, with an adapter if one is asked for, and its configuration.
pub(super) fn model(args: &BenchArgs, device: &Device) -> Result<(ModelConfig, CausalLm)> {
    let (config, model) = match (&args.model, &args.config) {
        (Some(directory), _) => {
            let loaded = checkpoint::load(directory, device)?;
            (loaded.config, loaded.model)
        }
        (None, Some(path)) => {
            let file = if path.is_dir() {
                path.join("config.json")
            } else {
                path.clone()
            };
            let config = ModelConfig::from_file(&file)?;
            let model = random(&config, device);
            (config, model)
        }
        (None, None) => {
            return Err(UsageError::new("no model", "give `--config FILE` or `--model DIR`").into());
        }
    };
    let model = match args.rank {
        Some(rank) => {
            let adapter = adapter(rank);
            let targets =
                (adapter.targets(&config)).map_err(|problems| anyhow::anyhow!(problems.join("; ")))?;
            model.with_adapter(&adapter, &targets, SEED)
        }
        None => model,
    };
    let model = model
        .with_precision(args.precision)
        .with_recompute(args.recompute);
    Ok((config, model))
}

/// LoRA on all linear layers, without dropout.
fn adapter(rank: usize) -> AdapterConfig {
    AdapterConfig {
        kind: AdapterKind::Lora,
        rank,
        alpha: 2.0 * rank as f64,
        scaling: AdapterScaling::default(),
        dropout: 0.0,
        target_modules: TargetModules::default(),
        modules_to_save: vec![],
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        tying: cadft_model::adapter::Tying::default(),
    }
}

fn random(config: &ModelConfig, device: &Device) -> CausalLm {
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
}

/// The samples of a step: those of the file, or random text of one length.
pub(super) fn samples(args: &BenchArgs, config: &ModelConfig) -> Result<Vec<Example>> {
    if let Some(path) = &args.samples {
        return given(path, config);
    }
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    let vocab = u32::try_from(config.vocab_size).unwrap_or(u32::MAX);
    let mut text = || {
        (0..args.length)
            .map(|_| generator.random_range(0..vocab))
            .collect()
    };
    Ok((0..args.global).map(|index| sample(index, text(), 1)).collect())
}

fn given(path: &Path, config: &ModelConfig) -> Result<Vec<Example>> {
    let shown = path.display();
    let text = cadft_files::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    let problem = |line: usize, problem: String| {
        UsageError::new(
            format!("{shown}:{line}: {problem}"),
            r#"a line is `{"token_ids": [1, 2, 3], "prompt_len": 1}`"#,
        )
    };
    let mut samples = vec![];
    for (index, line) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(line).map_err(|error| problem(index + 1, error.to_string()))?;
        let length = line.token_ids.len();
        if !(1..length.max(1)).contains(&line.prompt_len) {
            return Err(problem(
                index + 1,
                "`prompt_len` must be at least 1 and leave a token".to_owned(),
            )
            .into());
        }
        if let Some(id) = line
            .token_ids
            .iter()
            .find(|&&id| id as usize >= config.vocab_size)
        {
            return Err(problem(index + 1, format!("the model has no token {id}")).into());
        }
        samples.push(sample(index, line.token_ids, line.prompt_len));
    }
    if samples.is_empty() {
        return Err(problem(1, "the file holds no sample".to_owned()).into());
    }
    Ok(samples)
}

fn sample(index: usize, token_ids: Vec<u32>, prompt_len: usize) -> Example {
    Example {
        id: index.to_string(),
        weight: 1.0,
        loss_mask: (0..token_ids.len()).map(|token| token >= prompt_len).collect(),
        token_ids,
        prompt_len,
        answer: None,
        origin: Origin::default(),
    }
}

pub(super) fn batch(args: &BenchArgs, samples: &[&Example], device: &Device) -> GlobalBatch {
    let section = MicroBatching {
        micro: args.micro.unwrap_or(samples.len()),
        max_tokens: None,
        bucketing: Bucketing::None,
        packing: args.packing,
    };
    GlobalBatch::new(samples, &section, device)
}
