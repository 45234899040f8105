//! A saved model is the one that was evaluated, and its files give other programs the chat format of training.

use crate::CADFT;
use cadft_tests::command::{lines, run_with};
use cadft_tests::{NLL, NLL_SAVED, SAME, Workspace};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn object(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = object(path);
    change(&mut value);
    fs::write(path, serde_json::to_string_pretty(&value).expect("JSON")).expect("a file");
}

/// A base model whose files name `<|endoftext|>` (0) as the end, although its template ends turns with `<|im_end|>`
/// (2).
fn base() -> Workspace {
    let workspace = Workspace::new();
    let model = workspace.path("model");
    edit(&model.join("config.json"), |config| {
        config["eos_token_id"] = json!(0);
    });
    edit(&model.join("tokenizer_config.json"), |config| {
        config["eos_token"] = json!({"content": "<|endoftext|>", "special": true});
    });
    workspace.write(
        "model/special_tokens_map.json",
        r#"{"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}"#,
    );
    workspace
}

/// The NLL of the evaluation file under a model.
pub(crate) fn nll(workspace: &Workspace, args: &[&str]) -> f64 {
    let data = ["--data", "eval.jsonl", "--json"];
    let evaluated = workspace
        .run(CADFT, &[&["evaluate"], args, &data[..]].concat())
        .succeeded();
    lines(&evaluated.stdout)[0]["nll"].as_f64().expect("nll")
}

/// The NLL of each evaluation of a run, by step.
pub(crate) fn evaluations(run: &Path) -> Vec<(u64, f64)> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    (lines(&metrics).iter())
        .filter(|line| line["event"] == "evaluated")
        .map(|line| {
            (
                line["step"].as_u64().expect("a step"),
                line["nll"].as_f64().expect("nll"),
            )
        })
        .collect()
}

/// Merges an adapter of `model`.
pub(crate) fn merge(workspace: &Workspace, adapter: &str, out: &str, more: &[&str]) {
    let args = [
        "model",
        "merge",
        "--model",
        "model",
        "--adapter",
        adapter,
        "--out",
        out,
    ];
    let _ = workspace.run(CADFT, &[&args[..], more].concat()).succeeded();
}

#[test]
fn what_ends_a_turn_is_a_stop_token_of_the_saved_model() {
    let workspace = base();
    let saved = workspace.trained(CADFT, &["schedule.steps=2"]).join("model");
    // transformers reads `config.json` if there is no `generation_config.json`.
    assert_eq!(object(&saved.join("config.json"))["eos_token_id"], json!([0, 2]));
    assert!(!saved.join("generation_config.json").exists());
    // The template is the model's, and so is its `eos_token`.
    let tokenizer = object(&saved.join("tokenizer_config.json"));
    assert_eq!(tokenizer["eos_token"]["content"], "<|endoftext|>");

    let workspace = base();
    workspace.write(
        "model/generation_config.json",
        r#"{"temperature": 0.6, "eos_token_id": 0, "do_sample": true}"#,
    );
    let saved = workspace.trained(CADFT, &["schedule.steps=2"]);
    for place in ["model", "checkpoints/step-000002"] {
        assert_eq!(
            object(&saved.join(place).join("generation_config.json")),
            json!({"temperature": 0.6, "eos_token_id": [0, 2], "do_sample": true}),
            "{place}"
        );
    }
}

#[test]
fn files_that_say_how_the_model_talks_already_keep_their_bytes() {
    let workspace = Workspace::new();
    workspace.write("model/generation_config.json", "{\n    \"eos_token_id\": [2]}");
    let saved = workspace.trained(CADFT, &["schedule.steps=1"]).join("model");
    for name in [
        "generation_config.json",
        "tokenizer_config.json",
        "tokenizer.json",
    ] {
        let read = |directory: &Path| fs::read(directory.join(name)).expect("a file");
        assert_eq!(read(&saved), read(&workspace.path("model")), "{name}");
    }
    assert_eq!(object(&saved.join("config.json"))["eos_token_id"], 2);
}

#[test]
fn a_template_brings_its_end_of_turn_with_it() {
    for adapter in [&[][..], &["adapter.rank=2"]] {
        let workspace = base();
        let settings = [&["data.template=chatml", "schedule.steps=2"], adapter].concat();
        let saved = workspace.trained(CADFT, &settings).join("model");
        let tokenizer = object(&saved.join("tokenizer_config.json"));
        let template = fs::read_to_string(saved.join("chat_template.jinja")).expect("a template");
        assert_eq!(tokenizer["eos_token"], "<|im_end|>");
        assert_eq!(
            tokenizer["chat_template"],
            json!(template),
            "what older programs read"
        );
        assert_eq!(
            object(&saved.join("special_tokens_map.json")),
            json!({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
        );
        let names_stops = if adapter.is_empty() {
            "config.json"
        } else {
            "generation_config.json"
        };
        assert_eq!(
            object(&saved.join(names_stops))["eos_token_id"],
            json!([0, 2]),
            "{names_stops}"
        );
    }
}

#[test]
fn variables_of_the_template_are_saved_as_its_defaults() {
    let workspace = Workspace::new();
    let template = "{% for m in messages %}<|im_start|>{{ mode.name }}{{ m['content'] }}<|im_end|>{% endfor %}{{ last }}";
    edit(&workspace.path("model/tokenizer_config.json"), |config| {
        config["chat_template"] = json!(template);
    });
    let settings = [
        "data.template-variables={mode={name='\"q\"'},last=true}",
        "data.eval=[\"eval.jsonl\"]",
        "schedule.steps=2",
    ];
    let run = workspace.trained(CADFT, &settings);
    let (_, after) = *evaluations(&run).last().expect("an evaluation");
    let saved = run.join("model");
    let found = nll(&workspace, &["--model", saved.to_str().expect("UTF-8")]);
    // The command may group samples differently from the run.
    NLL.assert_near("now, and in the run", found, after);
    let tokenizer = cadft_data::Tokenizer::from_dir(&saved).expect("a tokenizer");
    let messages = [cadft_data::Message::new("user", "a")];
    let render = |tokenizer: cadft_data::Tokenizer| {
        let text = tokenizer.render_chat(&messages, cadft_data::GenerationPrompt::Omit);
        text.expect("it renders")
    };
    assert_eq!(render(tokenizer), "<|im_start|>\"q\"a<|im_end|>True");
    let other = json!({"last": false});
    let tokenizer = cadft_data::Tokenizer::from_dir(&saved).expect("a tokenizer");
    let tokenizer = tokenizer.with_template_variables(other.as_object().expect("an object"));
    assert_eq!(
        render(tokenizer),
        "<|im_start|>\"q\"a<|im_end|>False",
        "what a user gives comes first"
    );
}

#[test]
fn an_adapter_is_evaluated_under_the_template_that_it_was_trained_with() {
    let workspace = Workspace::new();
    let settings = [
        "data.template=alpaca",
        "data.eval=[\"eval.jsonl\"]",
        "adapter.rank=4",
        "optimizer.lr=1e-2",
    ];
    let run = workspace.trained(CADFT, &settings);
    let adapter = run.join("model");
    let adapter = adapter.to_str().expect("UTF-8");
    let (_, after) = *evaluations(&run).last().expect("an evaluation");
    merge(&workspace, adapter, "merged", &[]);
    for args in [
        &["--model", "model", "--adapter", adapter][..],
        &["--model", adapter],
        &["--model", "merged"],
    ] {
        let found = nll(&workspace, args);
        NLL_SAVED.assert_near(&format!("{args:?}: now, and in the run"), found, after);
    }
}

/// As TRL and PEFT write them: a tokenizer with its template in `tokenizer_config.json`, for a base whose template is
/// in a separate file.
#[test]
fn a_tokenizer_beside_an_adapter_takes_the_place_of_that_of_its_model() {
    let workspace = Workspace::new();
    let run = workspace.trained(CADFT, &["adapter.rank=2", "schedule.steps=1"]);
    let adapter = run.join("model");
    let template = "{% for m in messages %}{{ '<|im_start|>' + m['content'] + '<|endoftext|>' }}{% endfor %}";
    edit(&adapter.join("tokenizer_config.json"), |config| {
        config["chat_template"] = json!(template);
        config["eos_token"] = json!("<|endoftext|>");
    });
    fs::remove_file(adapter.join("generation_config.json")).expect("it is there");
    workspace.write(
        "model/chat_template.jinja",
        "{{ raise_exception('the template of the base') }}",
    );
    workspace.write(
        "model/generation_config.json",
        r#"{"temperature": 0.7, "eos_token_id": 2}"#,
    );
    let adapter = adapter.to_str().expect("UTF-8");
    let merge = [
        "model",
        "merge",
        "--model",
        "model",
        "--adapter",
        adapter,
        "--out",
        "merged",
    ];
    let _ = workspace.run(CADFT, &merge).succeeded();
    let merged = workspace.path("merged");
    assert!(!merged.join("chat_template.jinja").exists(), "of the base");
    assert_eq!(
        object(&merged.join("tokenizer_config.json"))["chat_template"],
        template
    );
    assert_eq!(
        object(&merged.join("generation_config.json")),
        json!({"temperature": 0.7, "eos_token_id": [0, 2]})
    );
    assert_eq!(object(&merged.join("config.json"))["eos_token_id"], json!([0, 2]));
    let beside = nll(&workspace, &["--model", "model", "--adapter", adapter]);
    let merged = nll(&workspace, &["--model", "merged"]);
    NLL.assert_near("beside, and merged", beside, merged);
}

#[test]
fn an_adapter_names_the_revision_of_its_model_on_the_hub() {
    let workspace = Workspace::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = workspace.path("hub/models--owner--name");
    fs::create_dir_all(repository.join("snapshots")).expect("a directory");
    fs::create_dir_all(repository.join("refs")).expect("a directory");
    fs::write(repository.join("refs/v2"), commit).expect("a reference");
    fs::rename(workspace.path("model"), repository.join("snapshots").join(commit)).expect("a rename");
    let cache = workspace.path("hub");
    let variables = [
        ("HF_HUB_CACHE", cache.to_str().expect("UTF-8")),
        ("HF_HUB_OFFLINE", "1"),
    ];
    let cadft = |args: &[&str]| run_with(CADFT, workspace.root(), args, &variables).succeeded();
    let train = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--set",
        "adapter.rank=2",
    ];
    let set = [
        "--set",
        "model.path=hf://owner/name@v2",
        "--set",
        "schedule.steps=1",
    ];
    let _ = cadft(&[&train[..], &set].concat());
    let config = workspace.path("run/model/adapter_config.json");
    let written = object(&config);
    assert_eq!(written["base_model_name_or_path"], "owner/name");
    assert_eq!(written["revision"], "v2");
    // The model is found by the name in the adapter, in PEFT's form and in this program's form.
    let evaluate = [
        "evaluate",
        "--model",
        "run/model",
        "--data",
        "eval.jsonl",
        "--json",
    ];
    let first = cadft(&evaluate).stdout;
    edit(&config, |config| {
        config["base_model_name_or_path"] = json!("hf://owner/name@v2");
        config["revision"] = Value::Null;
    });
    assert_eq!(cadft(&evaluate).stdout, first);
    edit(&config, |config| {
        config["base_model_name_or_path"] = json!("hf://owner/name");
    });
    run_with(CADFT, workspace.root(), &evaluate, &variables).refused(&["hf://owner/name", "HF_HUB_OFFLINE"]);
}

#[test]
fn what_is_measured_after_training_is_what_is_saved() {
    for dtype in ["bf16", "f16"] {
        let workspace = Workspace::new();
        let settings = [
            &format!("checkpoint.dtype={dtype}"),
            "data.eval=[\"eval.jsonl\"]",
            "optimizer.lr=5e-5",
            "evaluate.every=4",
            "checkpoint.every=4",
            "checkpoint.keep=9",
            "schedule.steps=8",
        ];
        let run = workspace.trained(CADFT, &settings);
        let reported = evaluations(&run);
        assert_eq!(
            reported.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
            [0, 4, 8]
        );
        for (step, nll_in_run) in reported {
            let saved = match step {
                0 => workspace.path("model"),
                8 => run.join("model"),
                step => run.join(format!("checkpoints/step-{step:06}")),
            };
            let found = nll(&workspace, &["--model", saved.to_str().expect("UTF-8")]);
            let what = format!("{dtype}, step {step}: what is saved, and in the run");
            SAME.assert_near(&what, found, nll_in_run);
        }
    }
}

/// Sets the first value of the last tensor in the file.
fn set_first_value(path: &Path, value: f32) {
    let mut bytes = fs::read(path).expect("weights");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let place = 8 + usize::try_from(header).expect("a length");
    bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(path, bytes).expect("weights");
}

#[test]
fn weights_beyond_f16_are_refused_before_the_first_step() {
    let workspace = Workspace::new();
    set_first_value(&workspace.path("model/model.safetensors"), 70_000.0);
    let train = ["train", "--recipe", "recipe.toml", "--out", "run"];
    let refused = workspace.run(CADFT, &[&train[..], &["--set", "checkpoint.dtype=f16"]].concat());
    refused.refused(&[
        "`checkpoint.dtype`",
        "70000",
        "model.",
        "hint: set it to `bf16` or `f32`",
    ]);
    assert!(!workspace.path("run").exists(), "nothing is written");
    // An adapter is saved in f32, whatever the format for models is.
    let adapter = [
        "--set",
        "checkpoint.dtype=f16",
        "--set",
        "adapter.rank=2",
        "--set",
        "schedule.steps=1",
    ];
    let _ = workspace.run(CADFT, &[&train[..], &adapter].concat()).succeeded();
}

#[test]
fn weights_that_grow_beyond_f16_are_saved_in_f32() {
    let workspace = Workspace::new();
    let settings = [
        "checkpoint.dtype=f16",
        "checkpoint.every=2",
        "optimizer.lr=40000",
        "schedule.warmup=0",
        "schedule.kind=constant",
        "schedule.steps=4",
        "objective=nll",
    ];
    let run = workspace.trained(CADFT, &settings);
    let history = fs::read_to_string(run.join("history.jsonl")).expect("a history");
    let warned = lines(&history)
        .into_iter()
        .filter(|line| line["event"] == "warned");
    let warned: Vec<String> = warned.map(|line| line["message"].to_string()).collect();
    assert!(
        warned.iter().any(|text| text.contains("saved in f32")),
        "{warned:?}"
    );
    for place in ["model", "checkpoints/step-000004"] {
        assert_eq!(
            object(&run.join(place).join("config.json"))["torch_dtype"],
            "float32",
            "{place}"
        );
    }
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
}
