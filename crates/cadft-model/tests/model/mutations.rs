//! Files of a model with bytes changed, removed or inserted: they are read or refused, and never cause a panic. The
//! properties are those of the fuzz targets.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use cadft_model::adapter::{self, ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterSave};
use cadft_model::checkpoint::{ChatFormat, load, save};
use cadft_model::gguf::import_gguf;
use cadft_model::{AdapterConfig, CausalLm, Dtype, ModelConfig, SaveOptions};
use proptest::prelude::*;
use serde_json::json;

use crate::{tiny, tiny_json};

/// A change at one byte.
#[derive(Clone, Debug)]
enum Change {
    Set(u8),
    Remove,
    Insert(u8),
    Cut,
    Double,
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Change)>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"0129-.eE\"{}[],:nulltrue".to_vec())
    ];
    let change = prop_oneof![
        byte.clone().prop_map(Change::Set),
        Just(Change::Remove),
        byte.prop_map(Change::Insert),
        Just(Change::Cut),
        Just(Change::Double),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), change), 1..4)
}

fn changed(bytes: &[u8], changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (index, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = index.index(bytes.len());
        match change {
            Change::Set(byte) => bytes[at] = *byte,
            Change::Remove => drop(bytes.remove(at)),
            Change::Insert(byte) => bytes.insert(at, *byte),
            Change::Cut => bytes.truncate(at),
            Change::Double => bytes.extend_from_within(at..),
        }
    }
    bytes
}

fn model() -> CausalLm {
    CausalLm::new(&tiny(json!({})), &Device::flex(), 3)
}

/// A directory with a model and an adapter.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let config = tiny(json!({}));
    let options = SaveOptions {
        max_shard_bytes: 8000,
        ..SaveOptions::default()
    };
    save(&directory.path().join("model"), &model(), &config, &options).unwrap();
    let adapter = AdapterConfig::default();
    let targets = adapter.targets(&config).unwrap();
    let parts = AdapterSave {
        adapter: &adapter,
        config: &config,
        base_model: "tiny".into(),
        carry_from: None,
        chat: ChatFormat::default(),
    };
    let adapted = model().with_adapter(&adapter, &targets, 1);
    adapter::save(&directory.path().join("adapter"), &adapted, &parts).unwrap();
    directory
}

/// Loads the directory after changing one of its files.
fn read_with(directory: &Path, file: &str, changes: &[(prop::sample::Index, Change)]) {
    let path = directory.join(file);
    let original = fs::read(&path).unwrap();
    fs::write(&path, changed(&original, changes)).unwrap();
    let _ = load(&directory.join("model"), &Device::flex());
    let _ = adapter::load(&directory.join("adapter"), model(), &tiny(json!({})));
    fs::write(&path, original).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_configuration_is_read_or_refused(changes in changes()) {
        let scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
        let text = tiny_json(json!({"rope_scaling": scaling, "layer_types": ["full_attention", "full_attention"]}));
        if let Ok(text) = String::from_utf8(changed(text.to_string().as_bytes(), &changes)) {
            let _ = ModelConfig::from_json(&text);
        }
    }

    #[test]
    fn a_changed_file_of_a_model_or_an_adapter_is_read_or_refused(changes in changes()) {
        let directory = directory();
        for file in [
            "model/config.json",
            "model/model.safetensors.index.json",
            "model/model-00001-of-00002.safetensors",
            &format!("adapter/{ADAPTER_CONFIG}"),
            &format!("adapter/{ADAPTER_WEIGHTS}"),
        ] {
            if directory.path().join(file).is_file() {
                read_with(directory.path(), file, &changes);
            }
        }
    }

    #[test]
    fn a_changed_gguf_file_is_imported_or_refused(changes in changes()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.gguf");
        crate::gguf::write_tiny(&path);
        let bytes = fs::read(&path).unwrap();
        // Damages only the metadata and the table of tensors; the data are plain numbers.
        fs::write(&path, changed(&bytes, &changes)).unwrap();
        let _ = import_gguf(&path, &directory.path().join("out"), Dtype::F32);
    }
}
