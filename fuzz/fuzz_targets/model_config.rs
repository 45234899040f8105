//! Any bytes as `config.json`: a configuration or problems, never a panic nor memory for what a number asks for.

#![no_main]

use cadft_model::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = ModelConfig::from_json(text);
    }
});
