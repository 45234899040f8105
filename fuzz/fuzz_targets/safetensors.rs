//! Any bytes as weights, and as their index: a model or problems, never a panic.

#![no_main]

use burn::tensor::Device;
use cadft_model::checkpoint::load;
use libfuzzer_sys::fuzz_target;

const MODEL: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2}"#;

fuzz_target!(|bytes: &[u8]| {
    for name in ["model.safetensors", "model.safetensors.index.json"] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("config.json"), MODEL).expect("it is written");
        std::fs::write(directory.path().join(name), bytes).expect("it is written");
        let _ = load(directory.path(), &Device::flex());
    }
});
