//! Peak memory of training steps and of loading, each measured in a separate process: `cargo xtask bench memory`.
//!
//! Prints one JSON object for each measurement: training with activations kept and recomputed, of all weights and of an
//! adapter; and loading a bf16 checkpoint, relative to its size in f32.

use burn::tensor::Device;
use cadft_core::{AnyObjective, Normalisation, RunningMoments};
use cadft_data::{Bucketing, Example, Origin};
use cadft_model::checkpoint::{self, SaveOptions};
use cadft_model::decoder::Recompute;
use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, CausalLm, Dtype, ModelConfig, TargetModules};
use cadft_step::batch::GlobalBatch;
use cadft_step::optimizer::Optimizer;
use cadft_step::step::{StepSettings, StepState, step};
use cadft_step::{MicroBatching, OptimizerOptions};
use std::process::Command;

/// A model of 26 million parameters whose activations are larger than its weights.
const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024,
    "num_hidden_layers": 16, "num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": true,
    "max_position_embeddings": 2048}"#;
const TOKENS: u32 = 512;
const SAMPLES: usize = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let found = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => return all(),
        ["train", recompute, trained] => train(recompute, trained),
        ["load", directory] => load(directory),
        _ => panic!("unknown arguments {arguments:?}"),
    };
    println!("{found}");
}

/// Runs all measurements, one after the other.
fn all() {
    for trained in ["all", "adapter"] {
        let kept = child(&["train", "none", trained]);
        let recomputed = child(&["train", "blocks", trained]);
        let ratio = recomputed / kept;
        println!(
            "{}",
            serde_json::json!({
                "measured": "step", "trained": trained, "kept_mib": kept, "recomputed_mib": recomputed, "ratio": ratio,
            })
        );
    }
    let parent = tempfile::tempdir().expect("a temporary directory");
    let directory = parent.path().join("model");
    let config = loaded_config();
    let model = CausalLm::new(&config, &device(), 1);
    let options = SaveOptions {
        dtype: Dtype::Bf16,
        max_shard_bytes: 100_000_000,
        carry_from: None,
        ..SaveOptions::default()
    };
    checkpoint::save(&directory, &model, &config, &options).expect("it is saved");
    let parameters: usize = (model.named_parameters().iter())
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum();
    drop(model);
    let size = mib(parameters);
    let peak = child(&["load", directory.to_str().expect("UTF-8")]);
    println!(
        "{}",
        serde_json::json!({"measured": "loading", "f32_mib": size, "peak_mib": peak, "ratio": peak / size})
    );
}

/// The growth of memory in MiB, measured in a child process of this program.
fn child(arguments: &[&str]) -> f64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).args(arguments).output().expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.trim().parse().expect("a number")
}

/// A wider model, so that the checkpoint has several hundred megabytes.
fn loaded_config() -> ModelConfig {
    let text = CONFIG
        .replace("\"hidden_size\": 384", "\"hidden_size\": 1024")
        .replace("\"intermediate_size\": 1024", "\"intermediate_size\": 3072")
        .replace("\"num_attention_heads\": 6", "\"num_attention_heads\": 16");
    ModelConfig::from_json(&text).expect("a valid configuration")
}

fn device() -> Device {
    cadft_train::device::parse("flex").expect("flex is compiled")
}

/// Two steps, so that moments exist in the second one.
fn train(recompute: &str, trained: &str) -> f64 {
    let config = ModelConfig::from_json(CONFIG).expect("a valid configuration");
    let device = device().autodiff();
    let samples: Vec<Example> = (0..SAMPLES)
        .map(|index| Example {
            id: index.to_string(),
            weight: 1.0,
            token_ids: (0..TOKENS)
                .map(|token| (token * 7 + index as u32) % 8192)
                .collect(),
            prompt_len: 1,
            loss_mask: (0..TOKENS).map(|token| token > 0).collect(),
            answer: None,
            origin: Origin::default(),
        })
        .collect();
    let samples: Vec<&Example> = samples.iter().collect();
    let section = MicroBatching {
        micro: SAMPLES,
        bucketing: Bucketing::None,
        ..MicroBatching::default()
    };
    let before = status_mib("VmRSS");
    let mut model = CausalLm::new(&config, &device, 1).with_recompute(match recompute {
        "blocks" => Recompute::Blocks,
        _ => Recompute::None,
    });
    if trained == "adapter" {
        let adapter = AdapterConfig {
            kind: AdapterKind::Lora,
            rank: 8,
            alpha: 16.0,
            scaling: AdapterScaling::Rank,
            dropout: 0.0,
            target_modules: TargetModules::AllLinear,
            modules_to_save: vec![],
            ..AdapterConfig::default()
        };
        let targets = adapter.targets(&config).expect("the layers exist");
        model = model.with_adapter(&adapter, &targets, 1);
    }
    let batch = GlobalBatch::new(&samples, &section, &device);
    let objective = AnyObjective::from_name("nll").expect("a known objective");
    let settings = StepSettings {
        objective: &objective,
        reference: None,
        normalisation: Normalisation::TokenMean,
        lr: 1e-4,
        clip: 1.0,
    };
    let optimizer = Optimizer::new(&OptimizerOptions::default());
    let mut state = StepState::new(optimizer, RunningMoments::new(0.99));
    for _ in 0..2 {
        model = step(model, &batch, &settings, &mut state).0;
    }
    status_mib("VmHWM") - before
}

fn load(directory: &str) -> f64 {
    let before = status_mib("VmRSS");
    let loaded = checkpoint::load(directory.as_ref(), &device()).expect("it loads");
    let peak = status_mib("VmHWM") - before;
    drop(loaded);
    peak
}

fn mib(values: usize) -> f64 {
    values as f64 * 4.0 / f64::from(1 << 20)
}

/// A value of `/proc/self/status`, in MiB.
fn status_mib(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this measurement needs Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .expect("a known key");
    let number = line.trim_start_matches(':').trim().trim_end_matches("kB").trim();
    number.parse::<f64>().expect("a number") / 1024.0
}
