//! The same rows give the same tokens in every command, and every sample knows its row.

use crate::CADFT;
use crate::study::Study;
use cadft_tests::command::{Outcome, lines, run_with};
use cadft_tests::{F64, Workspace};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The settings that decide how rows become tokens, each different from its default.
const SETTINGS: [&str; 4] = [
    "data.mask=last-turn",
    "data.max-length=200",
    "data.truncation=left-prompt",
    "data.template=alpaca",
];
/// The same settings as options.
const OPTIONS: [&str; 8] = [
    "--mask",
    "last-turn",
    "--max-length",
    "200",
    "--truncation",
    "left-prompt",
    "--template",
    "alpaca",
];

/// A commit of a repository on the Hub.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn text(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

/// Rows of two turns with different lengths.
fn conversations() -> String {
    text((0..12).map(|number| {
        let turn = |role: &str, content: String| json!({"role": role, "content": content});
        json!({"id": number.to_string(), "messages": [
            turn("user", format!("{number} coins. {}", "Ben finds 1. ".repeat(number % 4 * 5))),
            turn("assistant", format!("#### {number}")),
            turn("user", "And one more?".to_owned()),
            turn("assistant", format!("{number} + 1 = {}\n#### {}", number + 1, number + 1)),
        ]})
    }))
}

fn numbers(outcome: &Outcome) -> Value {
    serde_json::from_str(outcome.stdout.trim()).expect("one JSON object")
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The last evaluation of a run.
fn evaluated(run: &Path) -> Value {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let mut evaluations = lines(&metrics)
        .into_iter()
        .filter(|line| line["event"] == "evaluated");
    evaluations.next_back().expect("an evaluation")
}

#[test]
fn every_sample_is_shown_with_its_own_text_where_files_share_ids_and_lines() {
    let workspace = Workspace::new();
    let row = |file: &str, line: usize, prompt: &str| json!({"id": line.to_string(), "prompt": prompt, "completion": format!("answer {line} of {file}")});
    let too_long = "word ".repeat(600);
    workspace.write("a.jsonl", &text([row("a", 1, &too_long), row("a", 2, "q")]));
    workspace.write("b.jsonl", &text((1..4).map(|line| row("b", line, "q"))));
    let args = [
        "score", "--model", "model", "--data", "a.jsonl", "b.jsonl", "--show", "9",
    ];
    let scored = workspace.run(CADFT, &args).succeeded();
    let found = lines(&scored.stdout);
    let places: Vec<_> = (found.iter())
        .map(|line| {
            (
                line["path"].as_str().expect("a path"),
                line["line"].as_u64().expect("a line"),
            )
        })
        .collect();
    assert_eq!(
        places,
        [("a.jsonl", 2), ("b.jsonl", 1), ("b.jsonl", 2), ("b.jsonl", 3)]
    );
    for (line, (path, place)) in found.iter().zip(places) {
        let shown = format!(
            "  {place}: nll {:.3}, z {:.2}, weight {:.3}\n    > q\n    answer {place} of {}\n",
            number(&line["nll"]),
            number(&line["z"]),
            number(&line["weight"]),
            &path[..1],
        );
        assert!(
            scored.stderr.contains(&shown),
            "{shown} is not in:\n{}",
            scored.stderr
        );
    }
    for (file, samples) in [("a.jsonl", "1"), ("b.jsonl", "3")] {
        let line = scored.stderr.lines().find(|line| line.trim().starts_with(file));
        let counted = line.and_then(|line| line.split_whitespace().nth(1));
        assert_eq!(counted, Some(samples), "{file}: {}", scored.stderr);
    }
}

#[test]
fn evaluate_and_score_give_the_number_of_a_run_with_its_settings() {
    let workspace = Workspace::new();
    workspace.write("turns.jsonl", &conversations());
    let more = ["data.eval=[\"turns.jsonl\"]", "batch.micro=3", "schedule.steps=1"];
    let run = workspace.trained(CADFT, &[&SETTINGS[..], &more].concat());
    let expected = evaluated(&run);
    let input = ["--model", "run/model", "--data", "turns.jsonl"];
    let evaluate = |options: &[&str]| {
        numbers(
            &workspace
                .run(CADFT, &[&["evaluate", "--json"][..], &input, options].concat())
                .succeeded(),
        )
    };
    let one_by_one = [&OPTIONS[..], &["--micro", "3"]].concat();
    fs::write(
        workspace.path("like.toml"),
        fs::read(run.join("config.resolved.toml")).expect("a recipe"),
    )
    .expect("a recipe");
    for options in [&["--recipe", "run"][..], &["--like", "like.toml"], &one_by_one] {
        let found = evaluate(options);
        for key in ["samples", "tokens", "supervised", "nll", "token_accuracy"] {
            assert_eq!(found[key], expected[key], "{options:?}: {key}");
        }
        let args = [&["score", "--quiet"][..], &input, options].concat();
        let scores = lines(&workspace.run(CADFT, &args).succeeded().stdout);
        let sum: f64 = (scores.iter())
            .map(|score| number(&score["nll"]) * number(&score["supervised"]))
            .sum();
        let mean = sum / number(&expected["supervised"]);
        F64.assert_near(&format!("{options:?}"), mean, number(&expected["nll"]));
    }
    // Each of the settings matters, and an option takes precedence over the run.
    for other in [
        ["--mask", "assistant"],
        ["--max-length", "180"],
        ["--truncation", "drop"],
        ["--template", "chatml"],
    ] {
        let found = evaluate(&[&["--recipe", "run"][..], &other].concat());
        assert_ne!(found["nll"], expected["nll"], "{other:?}");
    }
}

#[test]
fn a_variable_of_the_template_is_set_in_every_command_and_one_without_a_value_is_refused() {
    let workspace = Workspace::new();
    let template = "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n{{ m.content }}\
                    {{ suffix | default('') }}<|im_end|>\n{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                    {% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let path = workspace.path("model/tokenizer_config.json");
    let config = fs::read_to_string(&path).expect("a tokenizer");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config["chat_template"] = json!(template);
    fs::write(&path, config.to_string()).expect("a tokenizer");
    let args = ["evaluate", "--model", "model", "--data", "eval.jsonl", "--json"];
    let tokens = |more: &[&str]| {
        number(&numbers(&workspace.run(CADFT, &[&args[..], more].concat()).succeeded())["supervised"])
    };
    assert!(tokens(&["--template-variable", "suffix=done"]) > tokens(&[]));
    // The data that are shown are those that are trained.
    let shown = |command: &str, more: &[&str]| {
        let args = [
            "data",
            command,
            "--model",
            "model",
            "--data",
            "eval.jsonl",
            "--json",
        ];
        let shown = workspace.run(CADFT, &[&args[..], more].concat()).succeeded();
        lines(&shown.stdout).remove(0)
    };
    let variable = ["--template-variable", "suffix=done"];
    for more in [&[][..], &variable, &["--template", "chatml"]] {
        let trained = number(&shown("stats", more)["total"]["supervised"]);
        assert_eq!(trained, tokens(more), "{more:?}");
    }
    let trained = |more: &[&str]| {
        let shown = shown("inspect", more);
        let tokens = shown["tokens"].as_array().expect("tokens").clone();
        let trained = tokens.iter().filter(|token| token["trained"] == true);
        trained
            .filter_map(|token| token["text"].as_str())
            .collect::<String>()
    };
    assert!(trained(&variable).ends_with("done<|im_end|>") && !trained(&[]).contains("done"));
    let wrong = [&args[..], &["--template-variable", "suffix"]].concat();
    workspace
        .run(CADFT, &wrong)
        .refused(&["`--template-variable suffix`", "KEY=VALUE", "hint:"]);
}

#[test]
fn evaluation_rows_that_are_cut_or_left_out_are_told_by_source() {
    let workspace = Workspace::new();
    let row = |id: &str, prompt: &str| json!({"id": id, "prompt": prompt, "completion": "4"});
    let long = "word ".repeat(300);
    workspace.write(
        "long.jsonl",
        &text([row("long", &long), row("b", "2+2="), row("c", "3+1=")]),
    );
    let settings = [
        "data.max-length=70",
        "data.eval=[\"eval.jsonl\", \"long.jsonl\"]",
        "schedule.steps=1",
    ];
    let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let dry = [&["train", "--recipe", "recipe.toml", "--dry-run"][..], &set].concat();
    let planned = workspace
        .run(CADFT, &[&dry[..], &["--json"]].concat())
        .succeeded();
    let plan = numbers(&planned);
    let [first, second] = &plan["eval_sources"].as_array().expect("a list")[..] else {
        panic!("{plan}")
    };
    assert_eq!(
        (&first["path"], &first["rows"]),
        (&json!("eval.jsonl"), &json!(16))
    );
    assert!(first["truncated"].as_u64() > Some(0), "{first}");
    let of_second = json!({"path": "long.jsonl", "rows": 3, "kept": 2, "truncated": 0, "dropped": 1});
    for key in ["path", "rows", "kept", "truncated", "dropped"] {
        assert_eq!(second[key], of_second[key], "{key}: {second}");
    }
    assert_eq!(
        number(&plan["eval_samples"]),
        number(&first["kept"]) + number(&second["kept"])
    );
    let cut = format!(
        "{} of 19 evaluation samples were cut to `data.max-length`",
        first["truncated"]
    );
    let dropped = "of 19 evaluation samples have nothing left to evaluate and were dropped (";
    for part in [&cut, dropped, "long"] {
        assert!(
            planned.stderr.contains(part),
            "{part} is not in:\n{}",
            planned.stderr
        );
    }
    let shown = workspace.run(CADFT, &dry).succeeded().stdout;
    assert!(shown.contains("2 of 3 rows, 1 left out"), "{shown}");

    let run = workspace.trained(CADFT, &settings);
    let expected = evaluated(&run);
    assert_eq!(expected["samples"], plan["eval_samples"]);
    let args = [
        "evaluate",
        "--model",
        "run/model",
        "--data",
        "eval.jsonl",
        "long.jsonl",
        "--recipe",
        "run",
        "--json",
    ];
    assert_eq!(
        numbers(&workspace.run(CADFT, &args).succeeded())["nll"],
        expected["nll"]
    );
    let warned = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    assert!(warned.contains(&cut) && warned.contains(dropped), "{warned}");
}

/// The replaced samples in a log, with their last text.
fn replaced(study: &Study, run: &str) -> BTreeMap<usize, Value> {
    let samples = study.log(run, "sample").into_iter();
    samples
        .filter(|sample| sample["decision"] == "replaced")
        .map(|sample| {
            let number = usize::try_from(sample["sample"].as_u64().expect("a position")).expect("small");
            (number, sample["new"]["text"].clone())
        })
        .collect()
}

/// Asserts that replaying the log of `run` gives its data set, and that the export has each rewrite in the row `row_of`
/// its sample.
fn assert_exports(study: &Study, run: &str, rows: &str, row_of: impl Fn(usize) -> usize) {
    let variables = hub(study);
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let cadft = |args: &[&str]| run_with(CADFT, study.root(), args, &variables).succeeded();
    let rounds = study.log(run, "round");
    let replayed = numbers(&cadft(&["rewrite", "replay", run, "--json"]));
    assert_eq!(replayed["rounds"], rounds.len(), "{replayed}");
    assert_eq!(replayed["sha256"], rounds.last().expect("a round")["sha256"]);
    let _ = cadft(&["rewrite", "export", run, "--out", "exported.jsonl"]);
    let exported = study.read("exported.jsonl");
    let changed: BTreeMap<usize, Value> = (exported.lines().zip(rows.lines()).enumerate())
        .filter(|(_, (new, old))| new != old)
        .map(|(number, (new, _))| {
            let row: Value = serde_json::from_str(new).expect("a row");
            (number, row["messages"][1]["content"].clone())
        })
        .collect();
    let expected: BTreeMap<usize, Value> = (replaced(study, run).into_iter())
        .map(|(sample, text)| (row_of(sample), text))
        .collect();
    assert_eq!(exported.lines().count(), rows.lines().count());
    assert_eq!(changed, expected);
}

/// A Hub cache with the study's data, and the environment of a machine without a network.
fn hub(study: &Study) -> [(&'static str, String); 2] {
    let cache = study.path("hub");
    let repository = cache.join("datasets--cadft--rows");
    let snapshot = repository.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).expect("a directory");
    fs::create_dir_all(repository.join("refs")).expect("a directory");
    fs::write(repository.join("refs/main"), COMMIT).expect("a reference");
    fs::write(snapshot.join("train.jsonl"), study.read("train.jsonl")).expect("data");
    [
        ("HF_HUB_CACHE", cache.to_string_lossy().into_owned()),
        ("HF_HUB_OFFLINE", "1".to_owned()),
    ]
}

#[test]
fn a_log_is_replayed_and_exported_whatever_the_data_settings() {
    let study = Study::new();
    let rows = study.read("train.jsonl");
    for (name, settings) in [
        ("left", &["data.truncation=left-prompt", "data.max-length=48"][..]),
        ("right", &["data.truncation=right", "data.max-length=56"]),
        (
            "template",
            &["data.template=alpaca", "rewrite.require-lower-score=false"],
        ),
        (
            "remote",
            &["data.train=[\"hf://datasets/cadft/rows/train.jsonl\"]"],
        ),
    ] {
        let variables = hub(&study);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let args = [&["train", "--recipe", "recipe.toml", "--out", name][..], &set].concat();
        let trained = run_with(CADFT, study.root(), &args, &variables).succeeded();
        if ["left", "right"].contains(&name) {
            assert!(trained.stderr.contains("were cut"), "{name}: {}", trained.stderr);
        }
        assert!(name == "template" || !replaced(&study, name).is_empty(), "{name}");
        assert_exports(&study, name, &rows, |sample| sample);
    }
}

#[test]
fn a_rewrite_is_exported_into_the_row_of_its_sample() {
    let study = Study::new();
    // Ids and lines repeat from file to file, and the first row of the first file is left out.
    let rows: Vec<Value> = lines(&study.read("train.jsonl"));
    let mut rows: Vec<Value> = (rows.into_iter().enumerate())
        .map(|(number, mut row)| {
            row["id"] = json!((number % 32).to_string());
            row
        })
        .collect();
    rows[0]["messages"][0]["content"] = json!("word ".repeat(200));
    fs::write(study.path("a.jsonl"), text(rows[..32].to_vec())).expect("data");
    fs::write(study.path("b.jsonl"), text(rows[32..].to_vec())).expect("data");
    let settings = [
        "data.train=[\"a.jsonl\", \"b.jsonl\"]",
        "data.truncation=drop",
        "rewrite.fraction=0.3",
    ];
    let _ = study.train("run", &settings).succeeded();
    let samples = replaced(&study, "run");
    assert!(samples.keys().any(|&sample| sample > 31), "{samples:?}");
    assert_exports(&study, "run", &text(rows), |sample| sample + 1);
}

#[test]
fn data_that_moved_is_still_read_in_its_format() {
    let study = Study::new();
    let rows: Vec<Value> = (lines(&study.read("train.jsonl")).iter())
        .map(|row| {
            let turn = |number: usize| row["messages"][number]["content"].clone();
            json!({"question": turn(0), "reply": turn(1)})
        })
        .collect();
    fs::write(study.path("columns.jsonl"), text(rows)).expect("data");
    let source = "data.train=[{path=\"columns.jsonl\", columns={prompt=\"question\", completion=\"reply\"}}]";
    let _ = study.train("run", &[source]).succeeded();
    fs::rename(study.path("columns.jsonl"), study.path("moved.jsonl")).expect("it moves");
    let replayed = study
        .cadft(&["rewrite", "replay", "run", "--data", "moved.jsonl", "--json"])
        .succeeded();
    assert_eq!(numbers(&replayed)["rounds"], 2);
}

#[test]
fn an_offline_round_is_replayed_as_it_was_read() {
    let study = Study::new();
    let input = [
        "--model",
        "embedded:quickstart",
        "--data",
        "train.jsonl",
        "--out",
        "offline",
    ];
    let options = [
        "--max-length",
        "60",
        "--truncation",
        "left-prompt",
        "--template",
        "alpaca",
    ];
    let more = [
        "--allow-higher-score",
        "--max-new-tokens",
        "16",
        "--fraction",
        "0.1",
    ];
    let args = [&["rewrite", "run"][..], &input, &options, &more].concat();
    let _ = study.cadft(&args).succeeded();
    let replayed = study
        .cadft(&["rewrite", "replay", "offline", "--json"])
        .succeeded();
    assert_eq!(numbers(&replayed)["rounds"], 1);
}
