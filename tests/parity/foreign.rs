//! Adapters in forms that PEFT writes and this program does not (`python/foreign_adapters.py`): the logits equal
//! PEFT's, or the adapter is refused by the key.

use burn::tensor::Device;
use cadft_model::adapter::{self, ADAPTER_CONFIG};
use cadft_model::checkpoint::ChatFormat;
use cadft_model::{ModelError, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, F32, fixture};
use serde_json::Value;
use std::path::Path;

/// Adapters that are accepted.
const READ: [&str; 17] = [
    "saved-embedding-apart",
    "saved-head-apart",
    "saved-by-ending",
    "saved-block-part",
    "patterns",
    "head",
    "head-dora",
    "head-of-tied",
    "embedding",
    "embedding-of-gemma",
    "expression",
    "one-block",
    "one-block-plain",
    "excluded",
    "gaussian",
    "mica",
    "some-unknown-names",
];
/// Adapters whose initialisation changes the base weights.
const REFUSED: [&str; 3] = ["pissa", "pissa-fast", "olora"];

fn directory(name: &str) -> std::path::PathBuf {
    fixture(&format!("foreign-adapters/{name}"))
}

fn load(directory: &Path, device: &Device) -> Result<adapter::Adapted, ModelError> {
    let text = std::fs::read(directory.join(ADAPTER_CONFIG)).expect("a configuration");
    let config: Value = serde_json::from_slice(&text).expect("JSON");
    let base = config["base_model_name_or_path"]
        .as_str()
        .unwrap_or("tiny-llama-tied");
    let base = checkpoint::load(&fixture(base), device).expect("the base loads");
    adapter::load(directory, base.model, &base.config)
}

#[test]
fn an_adapter_of_peft_computes_what_it_does_in_peft_and_so_does_the_merged_model() {
    let device = Device::flex();
    for name in READ {
        let adapted = load(&directory(name), &device).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = Arrays::read(&format!("foreign-adapters/{name}/expected.safetensors"));
        let ids = expected.ids::<2>("input_ids", &device);
        let logits = adapted.model.logits(adapted.model.hidden_states(ids.clone()));
        F32.assert_close(name, &values(logits), expected.values("logits"));

        let merged = adapted.model.merge_adapter();
        let out = tempfile::tempdir().expect("a directory");
        let saved = out.path().join("merged");
        checkpoint::save(
            &saved,
            &merged,
            &adapted.config,
            &checkpoint::SaveOptions::default(),
        )
        .expect("it is saved");
        let read = checkpoint::load(&saved, &device).expect("it is read").model;
        let logits = read.logits(read.hidden_states(ids));
        F32.assert_close(
            &format!("{name}: merged"),
            &values(logits),
            expected.values("logits"),
        );
    }
}

#[test]
fn an_adapter_that_changed_its_base_is_refused_with_the_way_out() {
    for name in REFUSED {
        let error = load(&directory(name), &Device::flex())
            .expect_err(name)
            .to_string();
        assert!(
            error.contains("`init_lora_weights`")
                && error.contains("path_initial_model_for_weight_conversion"),
            "{error}"
        );
    }
}

#[test]
fn an_adapter_written_again_computes_the_same() {
    let device = Device::flex();
    for name in READ
        .into_iter()
        .filter(|name| !name.contains("head") && !name.starts_with("embedding"))
    {
        let adapted = load(&directory(name), &device).expect("it loads");
        let out = tempfile::tempdir().expect("a directory");
        let saved = out.path().join("adapter");
        let text = std::fs::read(directory(name).join(ADAPTER_CONFIG)).expect("a configuration");
        let base: Value = serde_json::from_slice(&text).expect("JSON");
        let parts = adapter::AdapterSave {
            adapter: &adapted.adapter,
            config: &adapted.config,
            base_model: base["base_model_name_or_path"].as_str().expect("a name").into(),
            chat: ChatFormat::default(),
            carry_from: None,
        };
        adapter::save(&saved, &adapted.model, &parts).expect("it is saved");
        let again = load(&saved, &device).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = Arrays::read(&format!("foreign-adapters/{name}/expected.safetensors"));
        let ids = expected.ids::<2>("input_ids", &device);
        let logits = again.model.logits(again.model.hidden_states(ids));
        F32.assert_close(name, &values(logits), expected.values("logits"));
        assert_eq!(again.adapter.rank_pattern, adapted.adapter.rank_pattern, "{name}");
    }
}
