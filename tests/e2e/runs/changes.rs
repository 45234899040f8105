//! Changes between a checkpoint and the run that continues from it: refused, or recorded if allowed.

use super::CADFT;
use cadft_tests::command::lines;
use cadft_tests::{Workspace, runs};
use cadft_train::checkpoint::Manifest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A run of twelve steps that trains an adapter, and was stopped at its checkpoint after step 6.
fn stopped(objective: &str) -> Workspace {
    let workspace = Workspace::new();
    let settings = [
        &format!("objective={objective}"),
        "adapter.rank=2",
        "schedule.steps=12",
        "checkpoint.every=6",
        "evaluate.every=0",
    ];
    let _ = workspace.trained(CADFT, &settings);
    fs::remove_dir_all(workspace.path("run/checkpoints/step-000012")).expect("the last one");
    workspace
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(path).expect("a file");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    change(&mut value);
    fs::write(path, serde_json::to_string_pretty(&value).expect("JSON")).expect("a file");
}

#[test]
fn another_objective_is_refused_whatever_its_settings() {
    let workspace = stopped("nll");
    for objective in ["dft", "deft", "eaft"] {
        let set = format!("objective={objective}");
        let wanted = format!("`objective`: was `nll`, is `{objective}`");
        workspace
            .run(CADFT, &["train", "--resume", "run", "--set", &set])
            .refused(&[&wanted, "--allow-change"]);
    }
    workspace
        .run(CADFT, &["train", "--resume", "run", "--set", "loss.start=dft"])
        .refused(&["`loss.start`: was absent, is `dft`"]);
}

#[test]
fn a_model_that_was_changed_is_refused_by_the_file_that_differs() {
    let workspace = stopped("nll");
    let resume = ["train", "--resume", "run"];
    let model = workspace.path("model");
    let refused_after = |file: &str, change: &dyn Fn(&Path), wanted: &str| {
        let path = model.join(file);
        let good = fs::read(&path).expect("a file");
        change(&path);
        workspace.run(CADFT, &resume).refused(&[wanted, "--allow-change"]);
        fs::write(&path, good).expect("a file");
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).expect("weights");
        // The lowest bit of a value: the file keeps its size and is still a valid model.
        let place = bytes.len() - 4;
        bytes[place] ^= 1;
        fs::write(path, bytes).expect("weights");
    };
    let weights = "`model.path (SHA-256 of the weights)`";
    refused_after("model.safetensors", &flip, weights);
    for (key, value) in [("rms_norm_eps", json!(1e-6)), ("rope_theta", json!(5e4))] {
        let set = |path: &Path| edit(path, |config| config[key] = value.clone());
        refused_after("config.json", &set, &format!("`config.json: {key}`: was"));
    }
    let template = |path: &Path| {
        edit(path, |config| {
            let template = config["chat_template"].as_str().expect("a template");
            config["chat_template"] = json!(format!("{template}{{# a comment #}}"));
        });
    };
    refused_after("tokenizer_config.json", &template, "`model.path (chat template)`");
    let stop = |path: &Path| edit(path, |config| config["eos_token_id"] = json!([2, 1]));
    refused_after("config.json", &stop, "`model.path (stop tokens)`");
    // The place of the directory, settings without effect on the computation, and the layout of a file do not matter.
    edit(&model.join("config.json"), |config| {
        config["transformers_version"] = json!("5");
    });
    fs::rename(&model, workspace.path("moved")).expect("a rename");
    let moved = [&resume[..], &["--set", "model.path=./moved"]].concat();
    let _ = workspace.run(CADFT, &moved).succeeded();
}

/// An adapter that is trained further brings its template, and is compared as the model is.
#[test]
fn an_adapter_that_is_trained_on_is_part_of_what_is_compared() {
    let workspace = Workspace::new();
    let settings = ["adapter.rank=2", "schedule.steps=1", "data.template=alpaca"];
    fs::rename(
        workspace.trained(CADFT, &settings).join("model"),
        workspace.path("first"),
    )
    .expect("a rename");
    fs::remove_dir_all(workspace.path("run")).expect("the run");
    let run = workspace.trained(
        CADFT,
        &["adapter.path=first", "schedule.steps=2", "checkpoint.every=1"],
    );
    let template =
        |directory: &Path| fs::read_to_string(directory.join("chat_template.jinja")).expect("a template");
    assert_eq!(template(&run.join("model")), template(&workspace.path("first")));
    fs::remove_dir_all(run.join("checkpoints/step-000002")).expect("the last one");
    fs::rename(workspace.path("first"), workspace.path("moved")).expect("a rename");
    let resume = ["train", "--resume", "run", "--set", "adapter.path=./moved"];
    let weights = workspace.path("moved/adapter_model.safetensors");
    let good = fs::read(&weights).expect("weights");
    let mut bad = good.clone();
    let place = bad.len() - 4;
    bad[place] ^= 1;
    fs::write(&weights, bad).expect("weights");
    workspace
        .run(CADFT, &resume)
        .refused(&["`adapter.path (SHA-256 of its files)`"]);
    fs::write(&weights, good).expect("weights");
    let _ = workspace.run(CADFT, &resume).succeeded();
}

/// A template that writes the time of day gives other tokens a second later.
#[test]
fn a_run_keeps_the_time_that_its_template_writes() {
    let workspace = Workspace::new();
    edit(&workspace.path("model/tokenizer_config.json"), |config| {
        let template = config["chat_template"].as_str().expect("a template");
        config["chat_template"] = json!(format!("{{{{ strftime_now('%H:%M:%S') }}}}{template}"));
    });
    let settings = ["objective=nll", "schedule.steps=4", "checkpoint.every=2"];
    let run = workspace.trained(CADFT, &settings);
    let whole = runs::remains(&run);
    fs::remove_dir_all(run.join("checkpoints/step-000004")).expect("the last one");
    std::thread::sleep(Duration::from_secs(2));
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    runs::assert_same(&runs::remains(&run), &whole, "continued at another time");

    let state: Value = read(&run.join("checkpoints/step-000002/training/state.json"));
    let time = state["template_time"].as_str().expect("a time").to_owned();
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    assert_eq!(lines(&metrics)[0]["plan"]["template_time"], json!(time));
    let plain = stopped("nll");
    let state = read(&plain.path("run/checkpoints/step-000006/training/state.json"));
    assert!(
        state.get("template_time").is_none(),
        "a template that shows no time has none"
    );
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

#[test]
fn questions_are_part_of_what_is_compared() {
    let workspace = Workspace::new();
    let answer = |answer: &str| {
        let text = fs::read_to_string(workspace.path("eval.jsonl")).expect("rows");
        let rows = lines(&text).into_iter().map(|mut row| {
            row["answer"] = json!(answer);
            row.to_string()
        });
        workspace.write("eval.jsonl", &rows.collect::<Vec<_>>().join("\n"));
    };
    answer("7");
    let settings = [
        "data.eval=[\"eval.jsonl\"]",
        "evaluate.answers=2",
        "evaluate.max-new-tokens=4",
        "schedule.steps=2",
        "checkpoint.every=1",
    ];
    let _ = workspace.trained(CADFT, &settings);
    fs::remove_dir_all(workspace.path("run/checkpoints/step-000002")).expect("the last one");
    answer("1000");
    workspace
        .run(CADFT, &["train", "--resume", "run"])
        .refused(&["`data.eval (SHA-256 of the questions)`"]);
}

#[test]
fn what_was_changed_is_on_record() {
    let workspace = stopped("nll");
    let allowed = [
        "train",
        "--resume",
        "run",
        "--set",
        "optimizer.lr=5e-4",
        "--allow-change",
    ];
    let before = fs::read(workspace.path("run/config.resolved.toml")).expect("a recipe");

    // A dry run shows the plan without executing it.
    let dry = [&allowed[..], &["--dry-run", "--json"]].concat();
    let plan = workspace.run(CADFT, &dry).succeeded().stdout;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let changed = json!([{"key": "optimizer.lr", "was": 1e-3, "is": 5e-4}]);
    assert_eq!(plan["resume"]["step"], 6);
    assert_eq!(plan["resume"]["changed"], changed);
    let text = workspace.run(CADFT, &dry[..dry.len() - 1]).succeeded().stdout;
    assert!(
        text.contains("after step 6") && text.contains("`optimizer.lr`: was `0.001`"),
        "{text}"
    );
    let refused = [
        "train",
        "--resume",
        "run",
        "--set",
        "optimizer.lr=5e-4",
        "--dry-run",
    ];
    workspace
        .run(CADFT, &refused)
        .refused(&["`optimizer.lr`: was `0.001`, is `0.0005`"]);
    let after = fs::read(workspace.path("run/config.resolved.toml")).expect("a recipe");
    assert_eq!(before, after);

    let _ = workspace.run(CADFT, &allowed).succeeded();
    let history = fs::read_to_string(workspace.path("run/history.jsonl")).expect("a history");
    let resumed: Vec<Value> = lines(&history)
        .into_iter()
        .filter(|line| line["event"] == "resumed")
        .collect();
    assert_eq!(resumed.len(), 1);
    assert_eq!(
        (&resumed[0]["step"], &resumed[0]["changed"]),
        (&json!(6), &changed)
    );

    let _ = workspace
        .run(CADFT, &["report", "run", "--out", "page.html"])
        .succeeded();
    let page = fs::read_to_string(workspace.path("page.html")).expect("a page");
    assert!(page.contains("changed optimizer.lr from 0.001 to 0.0005"));

    // The recipe has the present values, and the earlier ones as comments. A run that is resumed again keeps them.
    let whole = "# Changed after step 6:\n#   `optimizer.lr`: was `0.001`, is `0.0005`\n";
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    let recipe = fs::read_to_string(workspace.path("run/config.resolved.toml")).expect("a recipe");
    assert!(
        recipe.starts_with(whole) && recipe.contains("lr = 0.0005"),
        "{recipe}"
    );
    let state = workspace.path("run/checkpoints/step-000012/training/state.json");
    let state: Value = serde_json::from_slice(&fs::read(state).expect("a state")).expect("JSON");
    assert_eq!(state["segments"], json!([{"until": 6, "changed": changed}]));
}

/// A checkpoint in the form of earlier releases, which recorded less.
#[test]
fn a_checkpoint_of_an_older_release_goes_on_with_a_warning() {
    let workspace = stopped("nll");
    let checkpoint = workspace.path("run/checkpoints/step-000006");
    let file = checkpoint.join("training/state.json");
    edit(&file, |state| {
        let keys = state.as_object_mut().expect("an object");
        let _ = keys.remove("inputs").expect("what was read");
        for section in ["checkpoint", "log", "guard"] {
            let _ = keys["settings"]
                .as_object_mut()
                .expect("settings")
                .remove(section);
        }
        keys["settings"]["model"]["path"] = json!("model/");
    });
    let path = checkpoint.join("training/manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).expect("a manifest")).expect("JSON");
    let bytes = fs::read(&file).expect("a state");
    let member = manifest.files.get_mut("training/state.json").expect("a member");
    member.bytes = bytes.len() as u64;
    let digest = Sha256::digest(&bytes);
    member.sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = serde_json::to_string_pretty(&manifest).expect("JSON");
    fs::write(&path, format!("{text}\n")).expect("a manifest");

    let elsewhere = ["train", "--resume", "run", "--set", "model.path=other"];
    fs::create_dir(workspace.path("other")).expect("a directory");
    for entry in fs::read_dir(workspace.path("model")).expect("the model") {
        let from = entry.expect("an entry").path();
        let name = from.file_name().expect("a name");
        fs::copy(&from, workspace.path("other").join(name)).expect("a copy");
    }
    workspace
        .run(CADFT, &elsewhere)
        .refused(&["`model.path`: was `model/`, is `other`"]);
    let outcome = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    for what in [
        "the weights of the model",
        "`config.json` of the model",
        "`checkpoint.best`",
    ] {
        assert!(outcome.stderr.contains(what), "{what}: {}", outcome.stderr);
    }
}
