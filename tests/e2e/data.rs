//! The settings of data and batches in a recipe, through the command.

use crate::CADFT;
use cadft_tests::command::{lines, run, steps};
use cadft_tests::{RUN, Workspace, fixture};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The steps of a run with the fixture recipe and these settings.
fn steps_with(settings: &[&str]) -> Vec<Value> {
    let workspace = Workspace::new();
    let directory = workspace.trained(CADFT, settings);
    steps(&read(&directory.join("metrics.jsonl")))
}

#[test]
fn packed_samples_and_token_budgets_follow_the_reference() {
    let expected = lines(&read(&fixture("blackbox").join("expected.exact.jsonl")));
    for settings in [
        &["batch.packing=best-fit"][..],
        &["batch.packing=best-fit", "batch.max-tokens=256"],
        &["batch.max-tokens=200", "data.cache=off"],
    ] {
        let found = steps_with(settings);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            for key in [
                "loss",
                "nll",
                "mean_gate",
                "mean_weight",
                "mu",
                "sigma",
                "max_z",
                "grad_norm",
            ] {
                let number = |line: &Value| line[key].as_f64().expect("a number");
                let (ours, theirs) = (number(found), number(expected));
                RUN.assert_near(
                    &format!("{settings:?}, step {}: {key}", found["step"]),
                    ours,
                    theirs,
                );
            }
            assert_eq!(found["tokens"], expected["tokens"]);
        }
    }
}

#[test]
fn tokenised_data_is_kept_where_the_recipe_says_and_makes_no_difference() {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let setting = format!("data.cache={}", cache.path().display());
    let losses = |settings: &[&str]| {
        let steps = steps_with(settings);
        steps
            .iter()
            .map(|step| step["loss"].to_string())
            .collect::<Vec<_>>()
    };
    let cold = losses(&[&setting, "schedule.steps=3"]);
    let files = || fs::read_dir(cache.path()).expect("the cache").count();
    assert_eq!(
        files(),
        4,
        "tokens for training and for evaluation, and their locks"
    );
    assert_eq!(losses(&[&setting, "schedule.steps=3"]), cold);
    assert_eq!(files(), 4);
    assert_eq!(losses(&["data.cache=off", "schedule.steps=3"]), cold);
}

#[test]
fn a_preset_is_saved_with_the_model_that_was_trained_under_it() {
    let workspace = Workspace::new();
    let directory = workspace.trained(CADFT, &["data.template=alpaca", "schedule.steps=1"]);
    let template = read(&directory.join("model/chat_template.jinja"));
    assert!(template.contains("### Response:"), "{template}");
    // The saved model generates with it.
    let tokenizer = cadft_data::Tokenizer::from_dir(&directory.join("model")).expect("the tokenizer loads");
    let messages = [cadft_data::Message::new("user", "2 + 2?")];
    let text = tokenizer
        .render_chat(&messages, cadft_data::GenerationPrompt::Add)
        .expect("it renders");
    assert!(
        text.ends_with("### Instruction:\n2 + 2?\n\n### Response:\n"),
        "{text}"
    );
}

#[test]
fn a_dry_run_says_what_becomes_of_each_source() {
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--dry-run",
        "--json",
        "--set",
        "data.max-length=85",
        "--set",
        "data.truncation=drop",
        "--set",
        "data.train=[\"messages.jsonl\", \"eval.jsonl\"]",
    ];
    let plan = run(CADFT, &fixture("blackbox"), &args).succeeded().stdout;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let sources = plan["sources"].as_array().expect("sources");
    assert_eq!(sources.len(), 2);
    for (source, path) in sources.iter().zip(["messages.jsonl", "eval.jsonl"]) {
        assert!(
            source["path"].as_str().expect("a path").ends_with(path),
            "{source}"
        );
        let number = |key: &str| source[key].as_u64().expect("a count");
        assert_eq!(number("rows"), number("kept") + number("dropped"), "{source}");
        assert!(
            number("kept") > 0 && number("dropped") > 0 && number("truncated") == 0,
            "{source}"
        );
    }
}
