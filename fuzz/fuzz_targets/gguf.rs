//! Any bytes as a GGUF file: a model directory or a problem, never a panic nor memory for what a number asks for.

#![no_main]

use cadft_model::Dtype;
use cadft_model::gguf::import_gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("m.gguf");
    std::fs::write(&file, bytes).expect("it is written");
    let _ = import_gguf(&file, &directory.path().join("out"), Dtype::F32);
});
