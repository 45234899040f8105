//! How often a step waits for the device, and that reading late changes nothing.

use super::models::{adapted, model, unequal};
use burn::module::Module;
use burn::tensor::Device;
use cadft_core::{AnyObjective, Cadft, Normalisation, RunningMoments, Statistics};
use cadft_data::{Bucketing, Example, Packing};
use cadft_model::decoder::{Precision, Recompute};
use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, CausalLm, TargetModules};
use cadft_tests::devices;
use cadft_train::batch::GlobalBatch;
use cadft_train::config::BatchSection;
use cadft_train::forward::score;
use cadft_train::step::{Backward, StepSettings, backward};

fn with_adapter(device: &Device, dropout: f64) -> CausalLm {
    let adapter = AdapterConfig {
        kind: AdapterKind::Lora,
        rank: 2,
        alpha: 4.0,
        scaling: AdapterScaling::Rank,
        dropout,
        target_modules: TargetModules::Names(vec!["v_proj".to_owned()]),
        modules_to_save: vec![],
    };
    adapted("tiny-llama-tied", device, &adapter)
}

/// Six samples of unequal length in micro-batches of `micro`.
fn batch(model: &CausalLm, micro: usize, packing: Packing) -> GlobalBatch {
    let examples = unequal(6);
    let section = BatchSection {
        global: 6,
        micro,
        bucketing: Bucketing::ByLength,
        packing,
        max_tokens: None,
    };
    let examples: Vec<&Example> = examples.iter().collect();
    GlobalBatch::new(&examples, &section, 0, &model.device())
}

fn gradient(
    model: &CausalLm,
    batch: &GlobalBatch,
    objective: &AnyObjective,
    running: &RunningMoments,
) -> Backward {
    let settings = StepSettings {
        objective,
        normalisation: Normalisation::TokenMean,
        lr: 1.0,
        clip: 1.0,
    };
    backward(model, batch, &settings, running)
}

fn named(name: &str) -> AnyObjective {
    AnyObjective::from_name(name).expect("a known objective")
}

fn running() -> AnyObjective {
    let mut cadft = Cadft::default();
    cadft.compatibility.statistics = Statistics::Running;
    AnyObjective::Cadft(cadft)
}

#[test]
fn a_step_waits_for_the_device_no_more_often_than_its_weights_need() {
    for (name, device) in devices() {
        let (plain, dropped) = (model("tiny-llama-tied", &device), with_adapter(&device, 0.5));
        let fresh = RunningMoments::new(0.99);
        let mut warm = fresh;
        warm.update(&[1.0, 2.0].into_iter().collect());
        let cadft = named("cadft");
        for (model, objective, moments, micro, reads) in [
            (&plain, &named("nll"), &fresh, 6, 1),
            (&plain, &named("dft"), &fresh, 2, 1),
            (&plain, &cadft, &fresh, 6, 2),
            (&plain, &cadft, &fresh, 2, 2),
            (&plain, &running(), &warm, 6, 2),
            (&plain, &running(), &warm, 2, 4),
            (&plain, &running(), &fresh, 2, 2),
            (&dropped, &cadft, &fresh, 2, 5),
        ] {
            let batch = batch(model, micro, Packing::None);
            let found = gradient(model, &batch, objective, moments).reads;
            assert_eq!(found, reads, "{name}: {objective:?} in micro-batches of {micro}");
        }
    }
}

#[test]
fn the_scoring_pass_and_the_training_pass_give_the_same_bits() {
    let device = cadft_train::device::parse("flex").expect("the CPU");
    let bf16 = model("tiny-llama-untied", &device).with_precision(Precision::Bf16);
    for model in [
        model("tiny-llama-tied", &device),
        model("tiny-qwen3-tied", &device),
        model("tiny-gemma3-untied", &device),
        with_adapter(&device, 0.0),
        bf16,
    ] {
        for recompute in [Recompute::None, Recompute::Blocks] {
            let model = model.clone().with_recompute(recompute);
            for (micro, packing) in [(1, Packing::None), (4, Packing::None), (2, Packing::BestFit)] {
                let batch = batch(&model, micro, packing);
                let scored = score(&model.valid(), &batch);
                let found = gradient(&model, &batch, &named("cadft"), &RunningMoments::new(0.99));
                assert_eq!(found.outcome.scores, scored, "{recompute:?} {micro} {packing:?}");
            }
        }
    }
}
