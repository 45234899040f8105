//! Adapters against PEFT (`python/tiny_adapters.py`): logits, loss, every gradient by name, ten optimizer steps, and
//! the files.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use cadft_model::adapter::{self, ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterSave};
use cadft_model::checkpoint::ChatFormat;
use cadft_model::{AdapterConfig, CausalLm, ModelConfig, checkpoint};
use cadft_step::OptimizerOptions;
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, F32, TEN_STEPS, devices, fixture, trained};
use serde_json::Value;
use std::fs;

use super::training::{assert_all, gradients, loss, ten_steps, ten_steps_of};

/// Adapters, with their checkpoints.
const ADAPTERS: [(&str, &str); 10] = [
    ("tiny-lora", "tiny-llama-tied"),
    ("tiny-rslora", "tiny-llama-untied"),
    ("tiny-dora", "tiny-llama-tied"),
    ("tiny-phi3-lora", "tiny-phi3-untied"),
    ("tiny-glm4-dora", "tiny-glm4-untied"),
    ("tiny-granite-lora", "tiny-granite-untied"),
    ("tiny-qwen3-moe-lora", "tiny-qwen3-moe-tied"),
    ("tiny-olmoe-dora", "tiny-olmoe-untied"),
    ("tiny-qwen3-5-lora", "tiny-qwen3-5-tied"),
    ("tiny-gemma4-lora", "tiny-gemma4-tied"),
];

struct Case {
    name: &'static str,
    base: &'static str,
    model: CausalLm,
    config: ModelConfig,
    adapter: AdapterConfig,
    expected: Arrays,
    ids: Tensor<2, Int>,
}

fn for_every_adapter(check: impl Fn(Case)) {
    for (_, device) in devices() {
        for (name, base) in ADAPTERS {
            check(case(name, base, &device.clone().autodiff()));
        }
    }
}

fn case(name: &'static str, base: &'static str, device: &Device) -> Case {
    let loaded = checkpoint::load(&fixture(base), device).expect("the checkpoint loads");
    let adapted = adapter::load(&fixture(name), loaded.model, &loaded.config).expect("the adapter loads");
    let expected = Arrays::read(&format!("{name}/expected.safetensors"));
    let ids = expected.ids::<2>("input_ids", device);
    Case {
        name,
        base,
        model: adapted.model,
        config: adapted.config,
        adapter: adapted.adapter,
        expected,
        ids,
    }
}

#[test]
fn logits_loss_and_every_gradient_by_name_equal_peft() {
    for_every_adapter(|case| {
        let Case {
            name,
            model,
            expected,
            ids,
            ..
        } = case;
        let logits = model.logits(model.hidden_states(ids.clone()));
        F32.assert_close(
            &format!("{name}: logits"),
            &values(logits),
            expected.values("logits"),
        );
        let loss = loss(&model, &ids);
        F32.assert_close(
            &format!("{name}: loss"),
            &values(loss.clone()),
            expected.values("loss"),
        );
        // The names must agree too: frozen weights have no gradient.
        assert_all("grad", name, &gradients(&model, &loss), &expected, F32);
    });
}

#[test]
fn ten_clipped_adamw_steps_equal_peft_and_leave_frozen_weights_alone() {
    for_every_adapter(|case| {
        let Case {
            name,
            model,
            expected,
            ids,
            ..
        } = case;
        let weight = |model: &CausalLm| {
            let attention = model
                .model
                .layers
                .iter()
                .find_map(|block| block.self_attn.as_ref());
            attention
                .expect("a block with full attention")
                .o_proj
                .weight
                .val()
        };
        let frozen = weight(&model);
        let model = ten_steps(name, model, &ids, &expected, TEN_STEPS);
        assert_all("trained", name, &trained(&model), &expected, TEN_STEPS);
        let after = weight(&model);
        assert_eq!(values(after), values(frozen), "{name}: a frozen weight moved");
    });
}

#[test]
fn ten_steps_of_lora_plus_equal_peft() {
    let options = OptimizerOptions {
        weight_decay: 0.0,
        loraplus_lr_ratio: 16.0,
        ..OptimizerOptions::default()
    };
    for (_, device) in devices() {
        for (name, base) in [
            ("tiny-lora", "tiny-llama-tied"),
            ("tiny-glm4-dora", "tiny-glm4-untied"),
        ] {
            let case = case(name, base, &device.clone().autodiff());
            let model = ten_steps_of(&options, case.model, &case.ids, |_, _| {});
            assert_all("loraplus", name, &trained(&model), &case.expected, TEN_STEPS);
        }
    }
}

#[test]
fn merged_logits_equal_peft_and_tied_weights_stay_tied() {
    for_every_adapter(|case| {
        let Case {
            name,
            model,
            config,
            expected,
            ids,
            ..
        } = case;
        let merged = model.valid().merge_adapter();
        assert!(!merged.has_adapter());
        assert_eq!(
            merged.lm_head.is_none(),
            config.tie_word_embeddings,
            "{name}: ties"
        );
        let logits = merged.logits(merged.hidden_states(ids.inner()));
        F32.assert_close(
            &format!("{name}: merged"),
            &values(logits),
            expected.values("logits"),
        );
    });
}

#[test]
fn an_adapter_is_written_as_peft_writes_it() {
    for_every_adapter(|case| {
        let out = tempfile::tempdir().expect("a temporary directory");
        let directory = out.path().join("adapter");
        let parts = AdapterSave {
            adapter: &case.adapter,
            config: &case.config,
            base_model: case.base.into(),
            carry_from: None,
            chat: ChatFormat::default(),
        };
        adapter::save(&directory, &case.model.valid(), &parts).expect("it is saved");
        let read = |directory: &std::path::Path, file| fs::read(directory.join(file)).expect("a file");
        assert_eq!(
            read(&directory, ADAPTER_WEIGHTS),
            read(&fixture(case.name), ADAPTER_WEIGHTS),
            "{}: the weights are the same bytes",
            case.name
        );
        let json = |directory| -> serde_json::Map<String, Value> {
            serde_json::from_slice(&read(directory, ADAPTER_CONFIG)).expect("JSON")
        };
        let (ours, theirs) = (json(&directory), json(&fixture(case.name)));
        for (key, value) in &ours {
            // PEFT lists a saved embedding under both of its names, and the layers of `all-linear` one by one.
            if key != "modules_to_save" && key != "target_modules" {
                assert_eq!(theirs.get(key), Some(value), "{}: `{key}`", case.name);
            }
        }
    });
}
