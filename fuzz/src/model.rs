//! Files of models: configurations, weights, their index, adapters and GGUF.

use burn::tensor::Device;
use cadft_model::adapter::{self, ADAPTER_CONFIG, ADAPTER_WEIGHTS, resolve};
use cadft_model::checkpoint::{load, save};
use cadft_model::gguf::import_gguf;
use cadft_model::{CausalLm, Dtype, ModelConfig, SaveOptions};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

const MODEL: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2}"#;
const ADAPTER: &str =
    r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "use_dora": true}"#;

fn directory_with(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).expect("it is written");
    }
    directory
}

fn tiny() -> ModelConfig {
    ModelConfig::from_json(MODEL).expect("a configuration")
}

fn loads(directory: &Path) -> bool {
    load(directory, &Device::flex()).is_ok()
}

/// Any bytes as `config.json`: the result is the same configuration or problems every time. Memory does not depend on
/// the numbers in the file.
pub(super) fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match (ModelConfig::from_json(text), ModelConfig::from_json(text)) {
            (Ok(once), Ok(again)) => assert_eq!(format!("{once:?}"), format!("{again:?}")),
            (Err(once), Err(again)) => assert_eq!(once.to_string(), again.to_string()),
            _ => panic!("it is read once and refused once"),
        }
    }
}

/// Any bytes as `adapter_config.json`: the result is an adapter of a tiny model, or problems.
pub(super) fn adapter_config(bytes: &[u8]) {
    let directory = directory_with(&[(ADAPTER_CONFIG, bytes)]);
    let _ = resolve(directory.path(), &tiny());
}

/// Any bytes as the weights of an adapter.
pub(super) fn adapter_weights(bytes: &[u8]) {
    let directory = directory_with(&[(ADAPTER_CONFIG, ADAPTER.as_bytes()), (ADAPTER_WEIGHTS, bytes)]);
    let model = CausalLm::new(&tiny(), &Device::flex(), 1);
    let _ = adapter::load(directory.path(), model, &tiny());
}

/// Any bytes as the weights of a model: the result is a model that is equal after writing and reading it, or problems.
pub(super) fn weights(bytes: &[u8]) {
    let directory = directory_with(&[("config.json", MODEL.as_bytes()), ("model.safetensors", bytes)]);
    let _ = loads(directory.path());
}

/// A model in two files, made once.
fn in_two_files() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let parent = tempfile::tempdir().expect("a directory");
        let options = SaveOptions {
            max_shard_bytes: 1500,
            ..SaveOptions::default()
        };
        let model = CausalLm::new(&tiny(), &Device::flex(), 1);
        save(&parent.path().join("model"), &model, &tiny(), &options).expect("it is written");
        parent
    });
    made.path()
}

/// Any bytes as the index of a model in two files: it is accepted only if every file name in it is one of the two.
pub(super) fn index(bytes: &[u8]) {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("model");
    fs::create_dir(&directory).expect("a directory");
    for entry in fs::read_dir(in_two_files().join("model")).expect("the model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, directory.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let first = directory.join("model-00001-of-00002.safetensors");
    fs::copy(&first, parent.path().join("outside.safetensors")).expect("more than one file");
    fs::write(directory.join("model.safetensors.index.json"), bytes).expect("it is written");
    if loads(&directory) {
        let index: Value = serde_json::from_slice(bytes).expect("JSON");
        let files = index["weight_map"].as_object().expect("an object").values();
        for file in files {
            let name = file.as_str().expect("a name");
            assert!(
                !name.contains(['/', '\\']) && directory.join(name).is_file(),
                "{name:?}"
            );
        }
    }
}

/// Any bytes as a GGUF file: the result is a directory that can be read, or a problem and no directory.
pub(super) fn gguf(bytes: &[u8]) {
    let directory = directory_with(&[("m.gguf", bytes)]);
    let out = directory.path().join("out");
    match import_gguf(&directory.path().join("m.gguf"), &out, Dtype::F32) {
        Ok(_) => assert!(loads(&out)),
        Err(_) => assert!(!out.exists()),
    }
    assert_eq!(
        fs::read_dir(directory.path()).expect("a directory").count(),
        1 + usize::from(out.exists())
    );
}
