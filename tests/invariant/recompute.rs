//! Recomputing activations changes only memory and time.

use super::models::{adapted, model, unequal};
use burn::tensor::Device;
use cadft_core::{AnyObjective, Normalisation, RunningMoments};
use cadft_data::{Bucketing, Example, Packing};
use cadft_model::decoder::Recompute;
use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, CausalLm, TargetModules};
use cadft_step::MicroBatching;
use cadft_step::batch::GlobalBatch;
use cadft_step::step::{StepSettings, backward};
use cadft_tests::{Named, devices, gradients_by_name};

fn with_adapter(name: &str, device: &Device, kind: AdapterKind) -> CausalLm {
    let adapter = AdapterConfig {
        kind,
        rank: 2,
        alpha: 4.0,
        scaling: AdapterScaling::Rank,
        dropout: 0.25,
        target_modules: TargetModules::Names(vec!["layers.1.mlp.up_proj".to_owned(), "v_proj".to_owned()]),
        modules_to_save: vec!["norm".to_owned()],
        ..AdapterConfig::default()
    };
    adapted(name, device, &adapter)
}

/// The loss and the gradients of a step of two micro-batches.
fn gradients(model: &CausalLm, packing: Packing, objective: &str) -> (f64, Named) {
    let samples = unequal(5);
    let samples: Vec<&Example> = samples.iter().collect();
    let section = MicroBatching {
        micro: 3,
        bucketing: Bucketing::ByLength,
        packing,
        max_tokens: None,
    };
    let batch = GlobalBatch::new(&samples, &section, &model.device());
    let objective = AnyObjective::from_name(objective).expect("a known objective");
    let reference = super::models::model("tiny-llama-untied", &model.device().inner()).reference();
    let settings = StepSettings {
        objective: &objective,
        reference: Some(&reference),
        normalisation: Normalisation::TokenMean,
        lr: 1.0,
        clip: 1.0,
    };
    model.seed_dropout(9);
    let found = backward(model, &batch, &settings, &RunningMoments::new(0.99));
    (found.outcome.loss, gradients_by_name(model, &found.gradients))
}

#[test]
fn recomputed_gradients_are_the_same_bits() {
    for (_, device) in devices() {
        for model in [
            model("tiny-llama-tied", &device),
            model("tiny-llama-untied", &device),
            model("tiny-qwen3-tied", &device),
            model("tiny-gemma3-untied", &device),
            model("tiny-olmo3-tied", &device),
            model("tiny-phi3-untied", &device),
            model("tiny-glm4-tied", &device),
            model("tiny-granite-tied", &device),
            model("tiny-ministral3-untied", &device),
            model("tiny-qwen3-moe-untied", &device),
            model("tiny-olmoe-tied", &device),
            model("tiny-qwen3-5-tied", &device),
            model("tiny-gemma4-tied", &device),
            with_adapter("tiny-gemma4-tied", &device, AdapterKind::Lora),
            with_adapter("tiny-llama-tied", &device, AdapterKind::Lora),
            with_adapter("tiny-llama-untied", &device, AdapterKind::Dora),
        ] {
            assert_recomputed(model, "cadft");
        }
        // The reference model has the vocabulary of these models.
        assert_recomputed(model("tiny-llama-tied", &device), "asft");
        assert_recomputed(
            with_adapter("tiny-llama-tied", &device, AdapterKind::Lora),
            "asft",
        );
    }
}

fn assert_recomputed(mut model: CausalLm, objective: &str) {
    for packing in [Packing::None, Packing::PaddingFree, Packing::BestFit] {
        model = model.with_recompute(Recompute::None);
        let (loss, kept) = gradients(&model, packing, objective);
        model = model.with_recompute(Recompute::Blocks);
        let (recomputed_loss, recomputed) = gradients(&model, packing, objective);
        assert_eq!(loss.to_bits(), recomputed_loss.to_bits());
        assert!(kept.values().flatten().any(|&value| value != 0.0));
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            recomputed.keys().collect::<Vec<_>>(),
            "the same parameters have gradients"
        );
        for (name, kept) in kept {
            assert_eq!(kept, recomputed[&name], "{name}, {packing:?}");
        }
    }
}
