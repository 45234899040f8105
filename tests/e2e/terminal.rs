//! Foreign text on a terminal: text from a file, a name or a model must not control it.

mod chat;
mod commands;
mod next;
mod widths;

use crate::CADFT;
use crate::study::Study;
use cadft_tests::command::{Outcome, lines};
use cadft_tests::{Workspace, terminal};
use serde_json::{Value, json};
use std::fs;

/// Sets the title, rings the bell, clears the screen with an 8-bit sequence, and reverses the text direction.
const HOSTILE: &str = "x\u{1b}]0;title\u{7}\u{1b}[8m\u{9b}2J\u{202e}\u{7f}y";

/// Whether a character controls the terminal or the text after it; line breaks and tabs do not.
fn acts(character: char) -> bool {
    (character.is_control() && !matches!(character, '\n' | '\t'))
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[track_caller]
fn assert_clean(text: &str, what: &str) {
    let found = text.lines().find(|line| line.contains(acts));
    assert!(found.is_none(), "{what}: {:?}", found.unwrap_or_default());
}

/// Asserts that no output of a command controls the terminal. Answers that must be exact are checked separately.
#[track_caller]
fn assert_says_nothing(outcome: &Outcome, args: &[&str]) {
    let what = format!("{args:?}");
    assert_clean(&outcome.stderr, &what);
    if !args.contains(&"--json") {
        assert_clean(&outcome.stdout, &what);
    }
}

/// A workspace in which all names and texts are hostile.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let row = |index: usize| {
        let messages = json!([
            {"role": "user", "content": format!("a {HOSTILE}")},
            {"role": "assistant", "content": format!("b {HOSTILE} {index}")},
        ]);
        json!({"id": format!("{HOSTILE}{index}"), "messages": messages, "answer": HOSTILE}).to_string() + "\n"
    };
    workspace.write(&data(), &(0..16).map(row).collect::<String>());
    workspace.write(&format!("bad{}", data()), &format!("{{\"{HOSTILE}\": 1}}\n"));
    let recipe = fs::read_to_string(workspace.path("recipe.nll.toml")).expect("a recipe");
    workspace.write(&format!("{HOSTILE}.toml"), &format!("# {HOSTILE}\n{recipe}"));
    let model = workspace.path(HOSTILE);
    fs::create_dir(&model).expect("a directory");
    for entry in fs::read_dir(workspace.path("model")).expect("the model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, model.join(path.file_name().expect("a name"))).expect("a copy");
    }
    workspace
}

fn data() -> String {
    format!("{HOSTILE}.jsonl")
}

fn run_all(workspace: &Workspace, commands: Vec<Vec<&str>>) {
    for args in commands {
        let outcome = workspace.run(CADFT, &args);
        assert_says_nothing(&outcome, &args);
        assert!(
            matches!(outcome.code, Some(0 | 2)),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn no_command_lets_a_name_or_a_text_act_on_the_terminal() {
    let workspace = workspace();
    let (data, recipe, run) = (data(), format!("{HOSTILE}.toml"), format!("run{HOSTILE}"));
    let set = format!(
        "data.train=[{}]",
        json!(data).to_string().replace('\u{7f}', "\\u007f")
    );
    let train = [
        "train",
        "--recipe",
        &recipe,
        "--set",
        &set,
        "--set",
        "schedule.steps=2",
        "--set",
        "data.eval=[]",
    ];
    let out = ["--out", &run];
    let input = ["--model", HOSTILE, "--data", &data];
    let adapter = ["--set", "adapter.rank=2", "--out", "adapter"];
    let (copy, rows, page) = (
        format!("copy{HOSTILE}"),
        format!("rows{HOSTILE}.csv"),
        format!("page{HOSTILE}.html"),
    );
    let last = format!("{run}/checkpoints/step-000002");
    let commands: Vec<Vec<&str>> = vec![
        [&train[..], &["--dry-run"]].concat(),
        [&train[..], &out].concat(),
        [&train[..], &out].concat(),
        vec!["train", "--resume", &run],
        vec!["train", "--resume", &last, "--out", &copy],
        [&train[..], &adapter].concat(),
        ["evaluate", "--generate", "--limit", "2", "--max-new-tokens", "2"]
            .into_iter()
            .chain(input)
            .collect(),
        ["score"]
            .into_iter()
            .chain(input)
            .chain(["--out", &rows])
            .collect(),
        ["data", "inspect", "--limit", "2"]
            .into_iter()
            .chain(input)
            .collect(),
        ["data", "stats"].into_iter().chain(input).collect(),
        vec!["data", "validate", "--data", &data, "--model", HOSTILE],
        vec![
            "data",
            "convert",
            "--data",
            &data,
            "--to",
            "prompt-completion",
            "--out",
            &rows,
        ],
        vec!["model", "inspect", HOSTILE],
        vec!["model", "convert", "--model", HOSTILE, "--out", &copy],
        vec!["model", "diff", HOSTILE, "model"],
        vec![
            "model",
            "merge",
            "--model",
            HOSTILE,
            "--adapter",
            "adapter/model",
            "--out",
            HOSTILE,
        ],
        vec!["recipe", "diff", &recipe, "nll"],
        vec!["report", &run, "--out", &page],
    ];
    run_all(&workspace, commands);
}

/// Adds a model with a hostile type, and one with a hostile chat template.
fn with_broken_models(workspace: &Workspace) {
    let config = fs::read_to_string(workspace.path("model/config.json")).expect("a config");
    let config = config.replace("\"llama\"", &json!(HOSTILE).to_string());
    fs::create_dir(workspace.path("typed")).expect("a directory");
    workspace.write("typed/config.json", &config);
    let tokenizer = fs::read_to_string(workspace.path("model/tokenizer_config.json")).expect("a tokenizer");
    let mut tokenizer: Value = serde_json::from_str(&tokenizer).expect("JSON");
    tokenizer["chat_template"] = json!(format!("{{{{ raise_exception('{HOSTILE}') }}}}"));
    workspace.write(
        &format!("{HOSTILE}/tokenizer_config.json"),
        &tokenizer.to_string(),
    );
}

#[test]
fn no_error_lets_what_it_names_act_on_the_terminal() {
    let workspace = workspace();
    let bad = format!("bad{}", data());
    let key = format!("\"{HOSTILE}\"=1");
    let hub = format!("hf://o/n@{HOSTILE}");
    let unknown = format!("--{HOSTILE}");
    with_broken_models(&workspace);
    let commands: Vec<Vec<&str>> = vec![
        vec![HOSTILE],
        vec!["train", &unknown],
        vec!["train", "--recipe", HOSTILE],
        vec!["train", "--recipe", "recipe.nll.toml", "--set", &key],
        vec!["train", "--recipe", "recipe.nll.toml", "--set", HOSTILE],
        vec!["train", "--recipe", "recipe.nll.toml", "--device", HOSTILE],
        vec!["train", "--resume", "typed", "--out", HOSTILE],
        vec!["compare", "recipe.nll.toml", "--objectives", HOSTILE],
        vec![
            "compare",
            "recipe.nll.toml",
            "--objectives",
            "nll",
            "--out",
            HOSTILE,
        ],
        vec!["score", "--model", HOSTILE, "--data", "messages.jsonl"],
        vec!["score", "--model", "typed", "--data", "messages.jsonl"],
        vec!["score", "--model", &hub, "--data", "messages.jsonl"],
        vec!["score", "--model", "model", "--data", HOSTILE],
        vec!["score", "--model", "model", "--data", &bad],
        vec![
            "score",
            "--model",
            "model",
            "--adapter",
            HOSTILE,
            "--data",
            "messages.jsonl",
        ],
        vec![
            "score",
            "--model",
            "model",
            "--data",
            "messages.jsonl",
            "--run",
            HOSTILE,
        ],
        vec!["generate", "--model", HOSTILE, "--prompt", "a"],
        vec!["data", "validate", "--data", &bad],
        vec![
            "data",
            "convert",
            "--data",
            "messages.jsonl",
            "--to",
            "messages",
            "--out",
            HOSTILE,
        ],
        vec!["model", "inspect", "typed"],
        vec!["model", "convert", "--gguf", &bad, "--out", "new"],
        vec!["model", "diff", "typed", "model"],
        vec!["recipe", "show", HOSTILE],
        vec!["recipe", "migrate", HOSTILE],
        vec!["report", HOSTILE],
        vec!["rewrite", "list", HOSTILE],
        vec!["rewrite", "show", "model", HOSTILE],
    ];
    for args in commands {
        let outcome = workspace.run(CADFT, &args);
        assert_says_nothing(&outcome, &args);
        assert_eq!(outcome.code, Some(2), "{args:?}: {}", outcome.stderr);
        if !args.contains(&"validate") {
            assert_eq!(outcome.stdout, "", "an error belongs on standard error");
        }
    }
}

#[test]
fn rewrites_are_listed_and_shown_without_what_acts() {
    let study = Study::new();
    let _ = study.train("run", &[]).succeeded();
    let records: String = lines(&study.read("run/rewrites.jsonl"))
        .into_iter()
        .map(|mut record| {
            for side in ["old", "new"] {
                if let Some(text) = record.pointer_mut(&format!("/{side}/text")) {
                    *text = json!(format!("{} {HOSTILE} {side}", text.as_str().unwrap_or_default()));
                }
            }
            if let Some(id) = record.get_mut("id") {
                *id = json!(HOSTILE);
            }
            record.to_string() + "\n"
        })
        .collect();
    fs::write(study.path("log.jsonl"), records).expect("a log");
    for args in [
        &["rewrite", "list", "log.jsonl"][..],
        &["rewrite", "show", "log.jsonl", HOSTILE],
        &["rewrite", "diff", "log.jsonl"],
    ] {
        let outcome = study.cadft(args).succeeded();
        assert_says_nothing(&outcome, args);
        assert!(
            outcome.stdout.contains("\\u{1b}]0;title\\u{7}"),
            "{args:?}: {}",
            outcome.stdout
        );
    }
}

#[test]
fn text_for_other_programs_is_exact_in_a_pipe_and_shown_on_a_terminal() {
    let workspace = workspace();
    let recipe = format!("{HOSTILE}.toml");
    let show = ["recipe", "show", &recipe];
    let text = fs::read_to_string(workspace.path(&recipe)).expect("the recipe");
    assert_eq!(workspace.run(CADFT, &show).succeeded().stdout, text);
    let (code, shown) = terminal::run(CADFT, workspace.root(), &show);
    assert_eq!(code, Some(0), "{shown}");
    assert_clean(&shown.replace("\r\n", "\n"), "on a terminal");
    assert!(
        shown.contains("# x\\u{1b}]0;title\\u{7}\\u{1b}[8m\\u{9b}2J\\u{202e}\\u{7f}y"),
        "{shown}"
    );

    let data = data();
    let stats = ["data", "stats", "--json", "--model", HOSTILE, "--data", &data];
    let piped = workspace.run(CADFT, &stats).succeeded().stdout;
    let (_, shown) = terminal::run(CADFT, workspace.root(), &stats);
    let shown = shown.replace("\r\n", "\n");
    assert_clean(&shown, "JSON on a terminal");
    let parsed = |text: &str| serde_json::from_str::<Value>(text.trim()).expect("JSON");
    assert_eq!(parsed(&shown), parsed(&piped), "the values are the same");
    assert_eq!(parsed(&piped)["sources"][0]["path"], json!(data), "JSON is exact");
}

#[test]
fn a_run_outlives_its_terminal() {
    let workspace = Workspace::new();
    let args = [
        "train",
        "--recipe",
        "recipe.nll.toml",
        "--out",
        "run",
        "--set",
        "schedule.steps=3",
        "-vv",
    ];
    assert_eq!(terminal::run_on_none(CADFT, workspace.root(), &args), Some(0));
    assert!(workspace.path("run/model/model.safetensors").is_file());
}
