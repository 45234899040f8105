//! Recomputing activations changes memory and time, nothing else.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use cadft_core::{AnyObjective, Normalisation, RunningMoments};
use cadft_data::{Bucketing, Example, Packing};
use cadft_model::decoder::Recompute;
use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, CausalLm, TargetModules, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{devices, fixture};
use cadft_train::batch::GlobalBatch;
use cadft_train::config::BatchSection;
use cadft_train::step::{StepSettings, backward};
use std::collections::BTreeMap;

fn examples() -> Vec<Example> {
    (0..5u32)
        .map(|i| {
            let length = 4 + (i * 3 % 7) as usize;
            Example {
                id: format!("{i}"),
                weight: 1.0,
                token_ids: (0..length as u32).map(|t| (t * 29 + i * 13) % 37).collect(),
                prompt_len: 1,
                loss_mask: (0..length).map(|t| t > 0).collect(),
                answer: None,
            }
        })
        .collect()
}

fn model(name: &str, device: &Device) -> CausalLm {
    checkpoint::load(&fixture(name), &device.clone().autodiff())
        .expect("the fixture loads")
        .model
}

fn adapted(name: &str, device: &Device, kind: AdapterKind) -> CausalLm {
    let loaded = checkpoint::load(&fixture(name), &device.clone().autodiff()).expect("the fixture loads");
    let adapter = AdapterConfig {
        kind,
        rank: 2,
        alpha: 4.0,
        scaling: AdapterScaling::Rank,
        dropout: 0.25,
        target_modules: TargetModules::Names(vec!["layers.1.mlp.up_proj".to_owned(), "v_proj".to_owned()]),
        modules_to_save: vec!["norm".to_owned()],
    };
    let targets = adapter.targets(&loaded.config).expect("the names exist");
    loaded.model.with_adapter(&adapter, &targets, 5)
}

struct ByName<'a> {
    names: BTreeMap<burn::module::ParamId, String>,
    gradients: &'a GradientsParams,
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for ByName<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.found.insert(self.names[&param.id].clone(), values(gradient));
        }
    }
}

/// Loss and gradients of a step of two micro-batches.
fn gradients(model: &CausalLm, packing: Packing) -> (f64, BTreeMap<String, Vec<f64>>) {
    let samples = examples();
    let samples: Vec<&Example> = samples.iter().collect();
    let section = BatchSection {
        global: 5,
        micro: 3,
        bucketing: Bucketing::ByLength,
        packing,
        max_tokens: None,
    };
    let batch = GlobalBatch::new(&samples, &section, 0, &model.device());
    let objective = AnyObjective::from_name("cadft").expect("a known objective");
    let settings = StepSettings {
        objective: &objective,
        normalisation: Normalisation::TokenMean,
        lr: 1.0,
        clip: 1.0,
    };
    model.seed_dropout(9);
    let found = backward(model, &batch, &settings, &RunningMoments::new(0.99));
    let names = model.named_parameters().into_iter();
    let mut by_name = ByName {
        names: names.map(|parameter| (parameter.id, parameter.name)).collect(),
        gradients: &found.gradients,
        found: BTreeMap::new(),
    };
    model.visit(&mut by_name);
    (found.outcome.loss, by_name.found)
}

#[test]
fn recomputed_gradients_are_the_same_bits() {
    for (_, device) in devices() {
        for model in [
            model("tiny-llama-tied", &device),
            model("tiny-llama-untied", &device),
            model("tiny-qwen3-tied", &device),
            model("tiny-gemma3-untied", &device),
            adapted("tiny-llama-tied", &device, AdapterKind::Lora),
            adapted("tiny-llama-untied", &device, AdapterKind::Dora),
        ] {
            let mut model = model;
            for packing in [Packing::None, Packing::BestFit] {
                model = model.with_recompute(Recompute::None);
                let (loss, kept) = gradients(&model, packing);
                model = model.with_recompute(Recompute::Blocks);
                let (recomputed_loss, recomputed) = gradients(&model, packing);
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
    }
}
