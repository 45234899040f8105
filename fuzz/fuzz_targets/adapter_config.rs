//! Any bytes as `adapter_config.json`: an adapter of a tiny model or problems, never a panic.

#![no_main]

use cadft_model::ModelConfig;
use cadft_model::adapter::{ADAPTER_CONFIG, resolve};
use libfuzzer_sys::fuzz_target;

const MODEL: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
    "num_hidden_layers": 2, "num_attention_heads": 2}"#;

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join(ADAPTER_CONFIG), bytes).expect("it is written");
    let config = ModelConfig::from_json(MODEL).expect("a configuration");
    let _ = resolve(directory.path(), &config);
});
