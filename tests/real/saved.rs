//! Saved models in transformers and PEFT: they stop at the stop token of training, and conversations are rendered
//! alike.

use cadft_data::{GenerationPrompt, Message, Tokenizer};
use cadft_tests::Workspace;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const BINARY: &str = env!("CARGO_BIN_EXE_cadft-under-test");
const QUESTION: &str = "Ben has 28 pens and Sam has 4. How many pens do they have together?";

/// The output of `python/check_transformers.py` for a saved directory.
fn answered(workspace: &Workspace, directory: &Path) -> Value {
    let python = env::var_os("CADFT_TRANSFORMERS_PYTHON")
        .expect("`cargo xtask test --real` names a Python with transformers");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python/check_transformers.py");
    let output = Command::new(python)
        .arg(script)
        .arg(directory)
        .args(["--chat", "--prompt", QUESTION, "--new-tokens", "200"])
        .current_dir(workspace.root())
        .output()
        .expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A run on a base model whose files name `<|endoftext|>` as the end, although turns end with `<|im_end|>`.
fn trained(settings: &[&str]) -> (Workspace, PathBuf) {
    let workspace = Workspace::new();
    for (file, key, value) in [
        ("config.json", "eos_token_id", json!(0)),
        ("tokenizer_config.json", "eos_token", json!("<|endoftext|>")),
    ] {
        let path = workspace.path("model").join(file);
        let mut object: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        object[key] = value;
        fs::write(&path, object.to_string()).expect("a file");
    }
    let common = ["objective=nll", "schedule.steps=60", "optimizer.lr=5e-3"];
    let run = workspace.trained(BINARY, &[&common[..], settings].concat());
    (workspace, run.join("model"))
}

#[test]
fn transformers_ends_an_answer_where_it_was_trained_to_end() {
    for settings in [
        &[][..],
        &["data.template=chatml"],
        &["adapter.rank=8"],
        &["adapter.rank=8", "data.template=chatml"],
        &["data.template=alpaca"],
    ] {
        let (workspace, saved) = trained(settings);
        let found = answered(&workspace, &saved);
        let text = found["text"].as_str().expect("a text");
        let end = if settings.contains(&"data.template=alpaca") {
            "<|endoftext|>"
        } else {
            "<|im_end|>"
        };
        assert!(text.ends_with(end), "{settings:?}: {text}");
        let tokens = found["new_ids"].as_array().expect("ids").len();
        assert!(tokens < 60, "{settings:?}: {tokens} tokens: {text}");
    }
}

#[test]
fn transformers_loads_what_was_merged() {
    let (workspace, _) = trained(&["adapter.rank=8"]);
    let merge = ["model", "merge", "--model", "run", "--out", "merged"];
    let _ = workspace.run(BINARY, &merge).succeeded();
    let found = answered(&workspace, &workspace.path("merged"));
    let text = found["text"].as_str().expect("a text");
    assert!(text.ends_with("<|im_end|>"), "{text}");
}

#[test]
fn transformers_renders_a_conversation_as_the_run_did() {
    let template = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + mode.name + m['content'] + '<|im_end|>' }}\
                    {% endfor %}{% if add_generation_prompt and opened %}<|im_start|>{% endif %}";
    let workspace = Workspace::new();
    workspace.write("model/chat_template.jinja", template);
    let settings = [
        "data.template-variables={mode={name='\"é'},opened=true}",
        "schedule.steps=1",
    ];
    let run = workspace.trained(BINARY, &settings);
    let saved = run.join("model");
    let variables = json!({"mode": {"name": "\"é"}, "opened": true});
    let tokenizer = Tokenizer::from_dir(&workspace.path("model")).expect("a tokenizer");
    let tokenizer = tokenizer.with_template_variables(variables.as_object().expect("an object"));
    let messages = [Message::new("user", QUESTION)];
    let text = tokenizer
        .render_chat(&messages, GenerationPrompt::Add)
        .expect("it renders");
    assert!(
        text.contains("user\"éBen") && text.ends_with("<|im_start|>"),
        "{text}"
    );
    let ids = tokenizer.encode_plain(&text).expect("ids");
    assert_eq!(answered(&workspace, &saved)["ids"], json!(ids));
}
