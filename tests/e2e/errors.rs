//! Bad input: one clear error with its place, exit code 2, no lost files, no panic.

use crate::CADFT;
use burn::tensor::DType;
use cadft_tests::command::{Outcome, run};
use std::fs;
use std::path::{Path, PathBuf};

/// A copy of the black-box fixture, to be damaged.
struct Workspace(cadft_tests::Workspace);

impl Workspace {
    fn new() -> Self {
        Self(cadft_tests::Workspace::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn train(&self, more: &[&str]) -> Outcome {
        let mut args = vec!["train", "--recipe", "recipe.toml"];
        args.extend(more);
        let outcome = self.0.run(CADFT, &args);
        assert!(!self.path("runs").exists(), "nothing is written for bad input");
        outcome
    }

    fn write(&self, name: &str, text: &str) {
        self.0.write(name, text);
    }
}

/// Rewrites the JSON header of a safetensors file.
fn edit_header(path: &Path, edit: impl Fn(&str) -> String) {
    let bytes = fs::read(path).expect("the model");
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"))).expect("small");
    let header = edit(std::str::from_utf8(&bytes[8..8 + length]).expect("UTF-8"));
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&bytes[8 + length..]);
    fs::write(path, out).expect("a file");
}

#[test]
fn a_number_format_that_a_device_has_not_is_refused_before_the_first_step() {
    for (name, device) in cadft_tests::devices() {
        let train = |precision| Workspace::new().train(&["--device", name, "--set", precision]);
        train("model.precision=f16").refused(&["`model.precision`: there is no training in `f16`", "hint:"]);
        if !device.supports_dtype(DType::BF16) {
            train("model.precision=bf16").refused(&[
                "`model.precision`: the device has no `bf16`",
                "hint: set `model.precision = \"f32\"`",
            ]);
        }
    }
}

#[test]
fn a_missing_training_file_is_named() {
    Workspace::new()
        .train(&["--set", "data.train=[\"nowhere.jsonl\"]"])
        .refused(&["nowhere.jsonl", "No such file", "hint:"]);
}

#[test]
fn a_missing_model_directory_is_named() {
    Workspace::new()
        .train(&["--set", "model.path=nowhere"])
        .refused(&["nowhere", "hint:"]);
}

#[test]
fn a_missing_recipe_is_named() {
    let workspace = Workspace::new();
    run(CADFT, workspace.0.root(), &["train", "--recipe", "nowhere.toml"]).refused(&["nowhere.toml"]);
}

#[test]
fn every_unknown_key_gets_its_line_and_a_suggestion() {
    let workspace = Workspace::new();
    let recipe = fs::read_to_string(workspace.path("recipe.toml")).expect("the recipe");
    workspace.write("recipe.toml", &format!("{recipe}sede = 3\n[sheduler]\n"));
    workspace.train(&[]).refused(&[
        "recipe.toml:",
        "did you mean `seed`?",
        "did you mean `schedule`?",
        "hint:",
    ]);
}

#[test]
fn a_truncated_checkpoint_is_named() {
    let workspace = Workspace::new();
    let model = workspace.path("model/model.safetensors");
    let bytes = fs::read(&model).expect("the model");
    fs::write(&model, &bytes[..bytes.len() - 100]).expect("a file");
    workspace.train(&[]).refused(&["model.safetensors"]);
}

#[test]
fn every_tensor_that_does_not_fit_is_in_one_report() {
    let workspace = Workspace::new();
    edit_header(&workspace.path("model/model.safetensors"), |header| {
        let renamed = header.replace("model.norm.weight", "model.norm.wait").replace(
            "model.layers.1.input_layernorm.weight",
            "model.layers.7.input_layernorm.weight",
        );
        // Changes the shape of one matrix from 64 × 32 to 32 × 64. Its bytes stay the same.
        renamed.replacen("[64,32]", "[32,64]", 1)
    });
    workspace.train(&[]).refused(&[
        "model.norm.weight",
        "model.norm.wait",
        "model.layers.1.input_layernorm.weight",
        "model.layers.7.input_layernorm.weight",
        "[32, 64]",
    ]);
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let workspace = Workspace::new();
    let model = workspace.path("model/model.safetensors");
    let mut bytes = fs::read(&model).expect("the model");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&model, bytes).expect("a file");
    workspace.train(&[]).refused(&["weight", "finite"]);
}

#[test]
fn every_bad_line_of_a_data_file_is_reported() {
    let workspace = Workspace::new();
    let good = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
    let empty = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}]}"#;
    workspace.write(
        "messages.jsonl",
        &format!("{good}\n{{\"messages\": [\n{good}\n{empty}\n"),
    );
    workspace
        .train(&[])
        .refused(&["messages.jsonl:2:", "messages.jsonl:4:", "empty", "hint:"]);
}

#[test]
fn data_with_nothing_to_train_is_refused() {
    let workspace = Workspace::new();
    workspace
        .train(&["--set", "data.max-length=3"])
        .refused(&["nothing to train", "hint:"]);
}

#[test]
fn an_unsupported_model_type_is_named() {
    let workspace = Workspace::new();
    let config = fs::read_to_string(workspace.path("model/config.json")).expect("the config");
    workspace.write("model/config.json", &config.replace("\"llama\"", "\"mamba\""));
    workspace.train(&[]).refused(&["mamba", "model_type"]);
}

#[test]
fn a_backend_that_is_not_compiled_says_what_is_and_how() {
    let workspace = Workspace::new();
    let missing = if cadft_train::device::compiled().contains(&"cuda") {
        "rocm"
    } else {
        "cuda"
    };
    let outcome = workspace.train(&["--device", missing]);
    outcome.refused(&[missing, "flex", "cargo xtask train --backend"]);
}

#[test]
fn a_loss_that_is_not_a_number_stops_before_the_update() {
    let workspace = Workspace::new();
    let args = [
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--out",
        "run",
        "--set",
        "optimizer.lr=1e38",
    ];
    let outcome = run(CADFT, workspace.0.root(), &args);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("not finite") && outcome.stderr.contains("hint:"),
        "{}",
        outcome.stderr
    );
    let metrics = fs::read_to_string(workspace.path("run/metrics.jsonl")).expect("metrics so far");
    assert!(metrics.contains("\"step\":1"), "the steps before are kept");
}
