//! The models and samples of `probe.json`.

use burn::module::Module;
use cadft_data::{Example, Origin};
use cadft_model::{CausalLm, checkpoint};
use cadft_step::score_samples;
use cadft_tests::{devices, fixture};
use serde_json::{Map, Value};
use std::fs;

/// Samples, with their scores under the model.
pub(super) struct Set {
    pub(super) samples: Vec<Example>,
    pub(super) scores: Vec<f64>,
}

/// One model on one device.
pub(super) struct Case<'a> {
    pub(super) name: &'a str,
    pub(super) model: CausalLm,
    pub(super) noisy: Set,
    pub(super) clean: Set,
    /// Settings by label.
    pub(super) objectives: &'a Value,
    /// The expected values, by label and normalisation.
    pub(super) expected: &'a Map<String, Value>,
}

pub(super) fn for_every_model(check: impl Fn(&Case<'_>)) {
    let text = fs::read_to_string(fixture("probe.json")).expect("the fixture exists");
    let fixtures: Value = serde_json::from_str(&text).expect("the fixture is JSON");
    for (_, device) in devices() {
        for (name, of_model) in fixtures["models"].as_object().expect("models") {
            let model = checkpoint::load(&fixture(name), &device.clone().autodiff())
                .expect("the fixture loads")
                .model;
            let valid = model.valid();
            let set = |set: &str| {
                let samples: Vec<Example> = (of_model["sets"][set].as_array().expect("samples").iter())
                    .map(sample)
                    .collect();
                let scores = score_samples(&valid, &samples, 4)
                    .map(|score| score.nll)
                    .collect();
                Set { samples, scores }
            };
            check(&Case {
                name,
                noisy: set("noisy"),
                clean: set("clean"),
                model,
                objectives: &fixtures["objectives"],
                expected: of_model["expected"].as_object().expect("objectives"),
            });
        }
    }
}

fn sample(value: &Value) -> Example {
    let token_ids: Vec<u32> = serde_json::from_value(value["token_ids"].clone()).expect("ids");
    let loss_mask: Vec<bool> = serde_json::from_value(value["loss_mask"].clone()).expect("a mask");
    Example {
        id: String::new(),
        weight: value["weight"].as_f64().expect("a weight"),
        prompt_len: loss_mask.iter().take_while(|is_trained| !**is_trained).count(),
        token_ids,
        loss_mask,
        answer: None,
        origin: Origin::default(),
    }
}
