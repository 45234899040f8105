//! Properties that hold for any foreign bytes: one function for each kind of file, for fuzzing and for the tests.
//!
//! The targets of cargo-fuzz call these functions. `tests/invariant/fuzzed.rs` includes this file and calls them too:
//! with all committed inputs, and with inputs that are mutated deterministically.

mod data;
mod hub;
mod model;
mod run;
mod tokenizer;

/// A property, and where its initial inputs are.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: also the name of the binary, and of the directory in `fuzz/seeds`.
    pub name: &'static str,
    /// Panics if the property does not hold.
    pub check: fn(&[u8]),
    /// Initial inputs: files, and directories of files, below `tests/fixtures`.
    pub fixtures: &'static [&'static str],
}

/// Every target, by name.
pub const TARGETS: [Target; 17] = [
    target(
        "adapter_config",
        model::adapter_config,
        &["tiny-dora/adapter_config.json"],
    ),
    target(
        "adapter_weights",
        model::adapter_weights,
        &["tiny-dora/adapter_model.safetensors"],
    ),
    target("answer", run::answer, &[]),
    target("card", data::card, &[]),
    target("conversation", data::conversation, &[]),
    target("gguf", model::gguf, &[]),
    target("hub", hub::answers, &["hub"]),
    target("index", model::index, &[]),
    target("jsonl", data::jsonl, &["data-formats"]),
    target("manifest", run::manifest, &[]),
    target(
        "model_config",
        model::config,
        &[
            "tiny-gemma3-tied/config.json",
            "tiny-phi3-tied/config.json",
            "tiny-ministral3-tied/config.json",
            "tiny-qwen3-moe-tied/config.json",
            "tiny-qwen3-5-tied/config.json",
            "tiny-gemma4-tied/config.json",
            "tiny-llama-llama3-rope/config.json",
        ],
    ),
    target("parquet", data::parquet, &["data-formats", "data-files"]),
    target("recipe", run::recipe, &[]),
    target("records", run::records, &[]),
    target(
        "safetensors",
        model::weights,
        &["tiny-llama-tied/model.safetensors"],
    ),
    target("template", data::template, &[]),
    target("tokenizer", tokenizer::files, &["tiny-llama-tied/tokenizer.json"]),
];

const fn target(name: &'static str, check: fn(&[u8]), fixtures: &'static [&'static str]) -> Target {
    Target {
        name,
        check,
        fixtures,
    }
}

/// Runs the property of this name.
///
/// # Panics
/// If it does not hold, or if there is none of this name.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target").check)(bytes);
}
