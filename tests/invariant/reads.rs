//! How often a step waits for the device, and that reading late does not change results.

use super::models::{adapted, model, unequal};
use burn::module::Module;
use burn::tensor::Device;
use cadft_core::{AnyObjective, Cadft, Gate, Normalisation, RunningMoments, Statistics};
use cadft_data::{Bucketing, Example, Packing};
use cadft_model::decoder::{Precision, Recompute};
use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, CausalLm, TargetModules};
use cadft_step::batch::GlobalBatch;
use cadft_step::forward::score;
use cadft_step::optimizer::Optimizer;
use cadft_step::step::{Backward, StepSettings, StepState, backward, begin};
use cadft_step::{MicroBatching, OptimizerOptions};
use cadft_tests::devices;

fn with_adapter(device: &Device, dropout: f64) -> CausalLm {
    let adapter = AdapterConfig {
        kind: AdapterKind::Lora,
        rank: 2,
        alpha: 4.0,
        scaling: AdapterScaling::Rank,
        dropout,
        target_modules: TargetModules::Names(vec!["v_proj".to_owned()]),
        modules_to_save: vec![],
        ..AdapterConfig::default()
    };
    adapted("tiny-llama-tied", device, &adapter)
}

/// Six samples of different lengths, in micro-batches of `micro`.
fn batch(model: &CausalLm, micro: usize, packing: Packing) -> GlobalBatch {
    let examples = unequal(6);
    let section = MicroBatching {
        micro,
        bucketing: Bucketing::ByLength,
        packing,
        max_tokens: None,
    };
    let examples: Vec<&Example> = examples.iter().collect();
    GlobalBatch::new(&examples, &section, &model.device())
}

fn settings<'a>(objective: &'a AnyObjective, reference: &'a CausalLm) -> StepSettings<'a> {
    StepSettings {
        objective,
        reference: Some(reference),
        normalisation: Normalisation::TokenMean,
        lr: 1e-4,
        clip: 1.0,
    }
}

/// The numbers of reads of a step with nothing in flight, and of the next step.
fn reads(
    model: &CausalLm,
    batch: &GlobalBatch,
    objective: &AnyObjective,
    running: &RunningMoments,
) -> [usize; 2] {
    let mut state = StepState::new(Optimizer::new(&OptimizerOptions::default()), *running);
    let reference = model.reference();
    let mut model = model.clone();
    [(); 2].map(|()| {
        let begun = begin(&model, batch, &settings(objective, &reference), &mut state);
        let reads = begun.reads;
        model = begun.update(model.clone(), &mut state);
        reads
    })
}

fn gradient(
    model: &CausalLm,
    batch: &GlobalBatch,
    objective: &AnyObjective,
    running: &RunningMoments,
) -> Backward {
    backward(model, batch, &settings(objective, &model.reference()), running)
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
        let over_talr = AnyObjective::Cadft(Cadft {
            gate: Gate::from_name("talr").expect("a gate"),
            ..Cadft::default()
        });
        for (model, objective, moments, micro, expected) in [
            (&plain, &named("nll"), &fresh, 6, [0, 1]),
            (&plain, &named("dft"), &fresh, 2, [0, 1]),
            (&plain, &named("eaft"), &fresh, 2, [0, 1]),
            (&plain, &named("asft"), &fresh, 2, [0, 1]),
            (&plain, &named("iw-sft"), &fresh, 2, [3, 3]),
            (&plain, &named("talr"), &fresh, 6, [1, 1]),
            (&plain, &named("talr"), &fresh, 2, [1, 1]),
            (&plain, &over_talr, &fresh, 6, [1, 1]),
            (&plain, &over_talr, &fresh, 2, [1, 1]),
            (&plain, &cadft, &fresh, 6, [1, 1]),
            (&plain, &cadft, &fresh, 2, [1, 1]),
            (&plain, &running(), &warm, 6, [1, 1]),
            (&plain, &running(), &warm, 2, [3, 3]),
            // The first step has no statistics; the second waits for those of the first.
            (&plain, &running(), &fresh, 2, [1, 4]),
            (&dropped, &cadft, &fresh, 2, [4, 4]),
        ] {
            let batch = batch(model, micro, Packing::None);
            let found = reads(model, &batch, objective, moments);
            assert_eq!(
                found, expected,
                "{name}: {objective:?} in micro-batches of {micro}"
            );
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
            for (micro, packing) in [
                (1, Packing::None),
                (4, Packing::None),
                (4, Packing::PaddingFree),
                (2, Packing::BestFit),
            ] {
                let batch = batch(&model, micro, packing);
                let scored = score(&model.valid(), &batch);
                let found = gradient(&model, &batch, &named("cadft"), &RunningMoments::new(0.99));
                assert_eq!(found.outcome.scores, scored, "{recompute:?} {micro} {packing:?}");
            }
        }
    }
}
