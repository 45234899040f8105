//! Reports of weights that do not fit: capped, with the number of the others, and with both models of an adapter.

use crate::CADFT;
use cadft_tests::Workspace;
use cadft_tests::command::Outcome;
use serde_json::{Value, json};
use std::fs;

/// Changes keys of `config.json` in a copy of the model, which then is the directory `name`.
fn changed(workspace: &Workspace, name: &str, keys: &[(&str, u64)]) {
    let directory = workspace.path(name);
    fs::create_dir(&directory).expect("a directory");
    for entry in fs::read_dir(workspace.path("model")).expect("the model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, directory.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    for (key, value) in keys {
        config[*key] = json!(value);
    }
    fs::write(path, config.to_string()).expect("a file");
}

fn evaluated(workspace: &Workspace, model: &str) -> Outcome {
    workspace.run(CADFT, &["evaluate", "--model", model, "--data", "eval.jsonl"])
}

/// Trains an adapter of the workspace's model for one step, into `lora`.
pub(crate) fn train_lora(workspace: &Workspace) {
    let lora =
        "train --model model --data messages.jsonl --adapter lora --objective nll --steps 1 --out lora";
    let _ = workspace
        .run(CADFT, &lora.split(' ').collect::<Vec<_>>())
        .succeeded();
}

#[test]
fn long_reports_of_tensors_end_with_the_number_of_the_others() {
    let workspace = Workspace::new();
    // Each of the two layers has nine tensors; one more for the embedding, and one for the last norm.
    changed(&workspace, "deep", &[("num_hidden_layers", 6)]);
    evaluated(&workspace, "deep").refused(&["`model.layers.2.", ": missing", "\n    - and 16 more\n"]);
    changed(
        &workspace,
        "wide",
        &[("num_hidden_layers", 2), ("hidden_size", 64), ("head_dim", 16)],
    );
    let wide = evaluated(&workspace, "wide");
    // All but none fit another width: 18 of the layers, the embedding and the norm.
    wide.refused(&["expected `[", "found `["]);
    assert!(wide.stderr.lines().count() <= 24, "{}", wide.stderr);
    assert!(
        !wide.stderr.contains(" more\n"),
        "twenty are shown: {}",
        wide.stderr
    );
    let text = fs::read(workspace.path("model/model.safetensors")).expect("weights");
    changed(&workspace, "flat", &[("num_hidden_layers", 1)]);
    fs::write(workspace.path("flat/model.safetensors"), text).expect("weights");
    let flat = evaluated(&workspace, "flat");
    flat.refused(&["`model.layers.1.", ": unused"]);
    assert!(flat.stderr.lines().count() <= 24, "{}", flat.stderr);
}

#[test]
fn an_adapter_on_another_model_names_both() {
    let workspace = Workspace::new();
    train_lora(&workspace);
    changed(&workspace, "other", &[("num_hidden_layers", 1)]);
    changed(&workspace, "wide", &[("intermediate_size", 96)]);
    // Weights that fit these shapes.
    for name in ["other", "wide"] {
        let random = format!(
            "train --model {name} --data messages.jsonl --objective nll --steps 1 --set model.init=random --out of-{name}"
        );
        let _ = workspace
            .run(CADFT, &random.split(' ').collect::<Vec<_>>())
            .succeeded();
        let model = format!("of-{name}/model");
        for words in [
            format!("evaluate --model {model} --adapter lora --data eval.jsonl"),
            format!("generate --model {model} --adapter lora --prompt hi"),
            format!("chat --model {model} --adapter lora"),
            format!("model merge --model {model} --adapter lora --out new"),
            format!("train recipe.toml --model {model} --set adapter.path=lora --out new"),
        ] {
            let outcome = workspace.run(CADFT, &words.split(' ').collect::<Vec<_>>());
            let both = format!("it belongs to the model `model`, and is put on `{model}`");
            outcome.refused(&["cannot be used", &both, "hint: put it on the model that it names"]);
            assert!(
                outcome.stderr.lines().count() <= 25,
                "{words}: {}",
                outcome.stderr
            );
        }
    }
    // On its own model, it is not the model that is at fault.
    let path = workspace.path("lora/model/adapter_config.json");
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.replace("\"r\": 16", "\"r\": 8")).expect("a file");
    let outcome = workspace.run(CADFT, &["evaluate", "--model", "lora", "--data", "eval.jsonl"]);
    outcome.refused(&[
        "lora_A.weight`: expected `[8, 32]`, found `[16, 32]`",
        "\n    - and 8 more\n",
    ]);
    assert!(!outcome.stderr.contains("belong"), "{}", outcome.stderr);
}

#[test]
fn a_run_is_not_continued_on_another_model() {
    let workspace = Workspace::new();
    let _ = workspace.trained(CADFT, &["schedule.steps=2"]);
    let text = fs::read(workspace.path("model/config.json")).expect("a file");
    changed(&workspace, "other", &[("num_hidden_layers", 2)]);
    fs::write(workspace.path("other/config.json"), text).expect("a file");
    // The same shape, and other weights.
    let weights = workspace.path("other/model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).expect("weights");
    let args = [
        "train",
        "--resume",
        "run",
        "--steps",
        "4",
        "--model",
        "other",
        "--allow-change",
    ];
    let outcome = workspace.run(CADFT, &args).succeeded();
    assert!(
        outcome
            .stderr
            .contains("  changed: `model.path`: was `model`, is `other`\n"),
        "{}",
        outcome.stderr
    );
    let refused = workspace.run(
        CADFT,
        &["train", "--resume", "run", "--steps", "4", "--model", "model"],
    );
    refused.refused(&[
        "the run would not go on",
        "`model.path`: was `other`, is `model`\n",
    ]);
}
