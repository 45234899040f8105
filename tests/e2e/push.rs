//! `cadft push`, to a Hub on loopback that is that of the tests of `cadft-hub`, and back.

#[allow(dead_code, reason = "the tests of cadft-hub use the rest")]
#[path = "../../crates/cadft-hub/tests/hub/server.rs"]
mod server;
#[allow(dead_code, reason = "the tests of cadft-hub use the rest")]
#[path = "../../crates/cadft-hub/tests/hub/store.rs"]
mod store;

use crate::CADFT;
use crate::hub::VARIABLES;
use cadft_tests::Workspace;
use cadft_tests::command::{Outcome, run};
use serde_json::Value;
use server::Server;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use store::Store;

const TOKEN: &str = "hf_s3cretOfTheUser";

/// Runs the command with this Hub, and a cache below `directory`. The token is in no output, at the most detailed level of
/// the log.
fn cadft(directory: &Path, server: &Server, args: &[&str]) -> Outcome {
    let home = format!("HF_HOME={}", directory.join("hf").display());
    let (token, endpoint) = (
        format!("HF_TOKEN={TOKEN}"),
        format!("HF_ENDPOINT={}", server.address),
    );
    let command = [&home, &token, &endpoint, CADFT];
    let outcome = run("env", directory, &[&VARIABLES[..], &command, args].concat());
    let shown = format!("{}{}", outcome.stdout, outcome.stderr);
    for piece in TOKEN.as_bytes().windows(8) {
        let piece = str::from_utf8(piece).expect("ASCII");
        assert!(!shown.contains(piece), "{piece}: {shown}");
    }
    assert!(
        !shown.contains("of-the-storage"),
        "a signed address is shown: {shown}"
    );
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    outcome
}

fn serve(store: &Store) -> Server {
    let store = store.clone();
    Server::start(move |asked| store.reply(asked))
}

/// All files below a directory by their names.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    let file = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(path).expect("a file"))
    };
    entries.map(file).collect()
}

#[test]
fn a_run_of_the_quickstart_is_sent_and_read_back_byte_by_byte() {
    let out = tempfile::tempdir().expect("a directory");
    let trained = [
        "train",
        "--out",
        "run",
        "--set",
        "schedule.steps=2",
        "--set",
        "checkpoint.every=1",
    ];
    let _ = run(CADFT, out.path(), &trained).succeeded();
    let model = files(&out.path().join("run/model"));
    let store = Store {
        chunk: 50_000,
        verifies: true,
        ..Store::new(TOKEN)
    };
    let server = serve(&store);
    let push = [
        "push",
        "run",
        "me/quickstart",
        "--license",
        "apache-2.0",
        "--private",
    ];
    let outcome = cadft(out.path(), &server, &push).succeeded();
    assert_eq!(outcome.stdout.trim(), format!("{}/me/quickstart", server.address));
    assert!(store.is_private("me/quickstart"));

    let mut sent = store.files("me/quickstart", "main");
    let _ = sent.remove(".gitattributes");
    let card = String::from_utf8(sent.remove("README.md").expect("a card")).expect("text");
    assert_eq!(sent, model, "the model, and nothing else of the run");
    for part in [
        "license: \"apache-2.0\"",
        "library_name: \"transformers\"",
        "`train.jsonl`, a local file",
    ] {
        assert!(card.contains(part), "{part}:\n{card}");
    }
    let root = out.path().to_str().expect("UTF-8");
    assert!(
        !card.contains(root) && !card.contains("/cadft-tests-cache"),
        "{card}"
    );
    assert_eq!(
        files(&out.path().join("run/model")),
        model,
        "the directory stays as it was"
    );

    // The downloader finds the same bytes.
    let inspected = cadft(
        out.path(),
        &server,
        &["model", "inspect", "hf://me/quickstart", "--json"],
    )
    .succeeded();
    assert!(inspected.stdout.contains("\"model_type\""));
    let snapshots = out.path().join("hf/hub/models--me--quickstart/snapshots");
    let snapshot = fs::read_dir(snapshots)
        .expect("a snapshot")
        .next()
        .expect("one")
        .expect("an entry")
        .path();
    assert_eq!(files(&snapshot), model);

    // A second push sends nothing.
    let before = server.asked().len();
    let args = [&push[..], &["--json"]].concat();
    let again = cadft(out.path(), &server, &args).succeeded();
    let report: Value = serde_json::from_str(&again.stdout).expect("one object");
    assert_eq!(
        (&report["committed"], &report["sent_bytes"]),
        (&Value::Array(vec![]), &0.into())
    );
    let asked = &server.asked()[before..];
    assert!(
        asked
            .iter()
            .all(|asked| asked.method != "PUT" && !asked.path.contains("/commit/"))
    );
    assert_eq!(store.commits(), 1);
}

#[test]
fn an_edited_card_stays_and_one_that_was_not_edited_is_replaced() {
    let workspace = Workspace::new();
    let store = Store::new(TOKEN);
    let server = serve(&store);
    let push = |name: &str, license: &str| {
        cadft(
            workspace.root(),
            &server,
            &["push", "model", name, "--license", license],
        )
        .succeeded()
    };
    let card = |name: &str| store.files(name, "main")["README.md"].clone();
    let _ = push("me/m", "mit");
    let older = String::from_utf8(card("me/m")).expect("text");
    let _ = push("me/m", "apache-2.0");
    let newer = card("me/m");
    assert_ne!(newer, older.as_bytes());
    let edited = format!("{older}Edited.\n");
    store.add("me/m", false, &[("README.md", edited.as_bytes())]);
    let outcome = push("me/m", "apache-2.0");
    assert!(
        outcome.stderr.contains("README.md stays as it is"),
        "{}",
        outcome.stderr
    );
    assert_eq!(card("me/m"), edited.as_bytes());
}

#[test]
fn a_dry_run_asks_the_hub_nothing_and_shows_what_would_be_sent() {
    let workspace = Workspace::new();
    let store = Store::new(TOKEN);
    let server = serve(&store);
    let outcome = cadft(
        workspace.root(),
        &server,
        &["push", "model", "me/m", "--dry-run", "--license", "mit"],
    )
    .succeeded();
    for part in [
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "README.md",
        "license: \"mit\"",
        "knows nothing of its training",
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
    }
    assert!(
        outcome.stderr.contains("would be sent to hf://me/m, branch main"),
        "{}",
        outcome.stderr
    );
    assert!(server.asked().is_empty() && !store.has("me/m"));
    assert!(!workspace.path("model/README.md").exists());
}

#[test]
fn an_adapter_names_its_model_by_its_name_on_the_hub() {
    let workspace = Workspace::new();
    let lora =
        "train --model model --data messages.jsonl --adapter lora --objective nll --steps 1 --out lora";
    let _ = run(CADFT, workspace.root(), &lora.split(' ').collect::<Vec<_>>()).succeeded();
    let store = Store::new(TOKEN);
    let server = serve(&store);
    let refused = cadft(workspace.root(), &server, &["push", "lora", "me/a"]);
    refused.refused(&[
        "adapter_config.json",
        "`model`, which is a path of this machine",
        "--base-model",
    ]);
    assert!(server.asked().is_empty());
    let args = [
        "push",
        "lora",
        "me/a",
        "--base-model",
        "o/base",
        "--license",
        "mit",
    ];
    let _ = cadft(workspace.root(), &server, &args).succeeded();
    let sent = store.files("me/a", "main");
    let config: Value = serde_json::from_slice(&sent["adapter_config.json"]).expect("JSON");
    assert_eq!(config["base_model_name_or_path"], "o/base");
    let card = str::from_utf8(&sent["README.md"]).expect("text");
    for part in [
        "base_model: \"o/base\"",
        "base_model_relation: \"adapter\"",
        "library_name: \"peft\"",
        "- \"lora\"",
    ] {
        assert!(card.contains(part), "{part}:\n{card}");
    }
    assert!(!sent.contains_key("model.safetensors") && sent.contains_key("adapter_model.safetensors"));
}

#[test]
fn what_cannot_be_sent_is_refused_before_the_hub_is_asked() {
    let workspace = Workspace::new();
    let store = Store::new(TOKEN);
    let server = serve(&store);
    let refused = |args: &[&str], parts: &[&str]| {
        let outcome = cadft(workspace.root(), &server, &[&["push"], args].concat());
        outcome.refused(&[parts, &["hint:"]].concat());
    };
    refused(
        &["modle", "me/m"],
        &["`modle` is not a directory", "did you mean `model`"],
    );
    for name in ["m", "datasets/o/n", "hf://datasets/o/n", "o/n/file", "../x", ""] {
        refused(&["model", name], &["is not the name of a model on the Hub"]);
    }
    refused(&["model", "o/n@a", "--revision", "b"], &["name the branch once"]);
    refused(&["model", "o/n", "--revision", "../a"], &["is not a branch"]);
    refused(&["model", "o/n", "--message", " "], &["`--message` is empty"]);
    refused(&["model", "o/n", "--base-model", "/home/me"], &["`--base-model`"]);
    refused(&[".", "o/n"], &["neither `config.json`"]);
    workspace.write("model/README.md", "# Mine\n");
    refused(
        &["model", "o/n", "--license", "mit"],
        &["README.md` is sent as it is"],
    );
    refused(
        &["model", &format!("o/n@{}", "0a".repeat(20))],
        &["a commit cannot be added to"],
    );
    assert!(server.asked().is_empty(), "{:?}", server.asked());

    run(
        "env",
        workspace.root(),
        &["HF_HUB_OFFLINE=1", CADFT, "push", "model", "o/n"],
    )
    .refused(&["`HF_HUB_OFFLINE`"]);
    let home = format!("HF_HOME={}", workspace.path("empty").display());
    let without = [
        "-u",
        "HF_TOKEN",
        "-u",
        "HUGGING_FACE_HUB_TOKEN",
        "-u",
        "HF_TOKEN_PATH",
        &home,
        CADFT,
    ];
    run(
        "env",
        workspace.root(),
        &[&without[..], &["push", "model", "o/n"]].concat(),
    )
    .refused(&["needs a token", "hf auth login"]);

    // What is not valid for the Hub is an error of the input too, with what it says.
    let other = Store::new("another");
    let outcome = cadft(workspace.root(), &serve(&other), &["push", "model", "o/n"]);
    outcome.refused(&["the Hub answers 401", "Invalid username", "`HF_TOKEN`"]);
}
