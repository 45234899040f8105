//! What holds for any bytes that come from somebody else: one function for each kind of file, for fuzzing and for the tests.
//!
//! The targets of cargo-fuzz call these functions, and so does `tests/invariant/fuzzed.rs`, which includes this file: over
//! everything that is committed, and over bytes that are changed in ways that are the same every time.

mod data;
mod hub;
mod model;
mod run;
mod tokenizer;

/// A property, and where inputs for it begin.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the binary, and of the directory in `fuzz/seeds`.
    pub name: &'static str,
    /// Panics where the property does not hold.
    pub check: fn(&[u8]),
    /// Files, and directories of files, below `tests/fixtures`, that are inputs.
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

/// Runs the property of that name.
///
/// # Panics
/// Where it does not hold, and where there is none of that name.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target").check)(bytes);
}
