//! `cadft train` up to its first step.

use super::{Cadft, fixture, json_lines};
use serde_json::Value;

/// The plan of a dry run with the fixture's recipe.
fn planned(cadft: &Cadft, options: &[&str]) -> Value {
    let recipe = fixture("recipe.toml");
    let args = ["train", "--recipe", &recipe, "--dry-run", "--json"];
    json_lines(&cadft.answer(&[&args[..], options].concat())).remove(0)
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let cadft = Cadft::new();
    let recipe = fixture("recipe.toml");
    let plan = planned(&cadft, &[]);
    assert_eq!(
        (plan["objective"].as_str(), plan["steps"].as_u64()),
        (Some("cadft"), Some(20))
    );
    for count in ["samples", "tokens", "supervised", "parameters", "memory_mib"] {
        assert!(plan[count].as_f64().expect(count) > 0.0, "{count}: {plan}");
    }
    assert!(
        plan["warnings"].is_array(),
        "the standardisation over 8 samples is worth a warning"
    );
    let text = cadft.run(&["train", "--recipe", &recipe, "--dry-run"]);
    assert_eq!(text.code, 0);
    assert!(text.stdout.contains("steps"), "{}", text.stdout);
    assert!(
        text.stderr.contains("warning: ") && text.stderr.contains("\nhint: "),
        "{}",
        text.stderr
    );
    let left = std::fs::read_dir(cadft.path(".")).expect("its directory");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left, ["cache"], "nothing but the cache, which tests have here");
}

#[test]
fn a_dry_run_warns_of_what_the_chat_template_does_not_show() {
    let cadft = Cadft::new();
    let row = serde_json::json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "because it is"}]});
    cadft.write("d.jsonl", &format!("{row}\n").repeat(12));
    let data = format!("data.train=[\"{}\"]", cadft.path("d.jsonl").display());
    let plan = planned(&cadft, &["--set", &data]);
    assert_eq!(
        plan["warnings"][0]["message"],
        "the chat template does not show the reasoning of 12 of 12 rows"
    );
}

#[test]
fn overrides_and_the_files_beside_a_recipe_are_used() {
    let cadft = Cadft::new();
    let plan = planned(&cadft, &["--set", "schedule.steps=3"]);
    assert_eq!(plan["steps"], 3);
}

#[test]
fn a_directory_with_a_run_is_not_overwritten() {
    let cadft = Cadft::new();
    std::fs::create_dir(cadft.path("run")).expect("a directory");
    cadft.write("run/config.resolved.toml", "");
    cadft.write(
        "run/environment.json",
        "{\"format_version\": 1, \"cadft\": \"0.1.0\"}",
    );
    for args in [["--out", "run"], ["--set", "run.out=run"]] {
        let recipe = fixture("recipe.toml");
        let message = cadft.refusal(&[&["train", "--recipe", &recipe], args.as_slice()].concat());
        assert!(message.contains("already holds a run"), "{message}");
        assert!(message.contains("hint: continue it with `--resume`"), "{message}");
    }
}

#[test]
fn missing_models_and_files_are_refused_by_name() {
    let cadft = Cadft::new();
    let recipe = fixture("recipe.toml");
    let message = cadft.refusal(&["train", "--recipe", &recipe, "--set", "model.path=nowhere"]);
    assert!(message.contains("`nowhere` is not a directory"), "{message}");
    for args in [
        &["train", "--recipe", &recipe, "--set", "model.path=Owner/Name-1B"][..],
        &["chat", "--model", "Owner/Name-1B"],
    ] {
        let message = cadft.refusal(args);
        assert!(
            message.contains("hint: a model of the Hugging Face Hub is `hf://Owner/Name-1B`"),
            "{message}"
        );
    }
    let message = cadft.refusal(&[
        "train",
        "--recipe",
        &recipe,
        "--set",
        "data.train=[\"none.jsonl\"]",
    ]);
    assert!(message.contains("none.jsonl"), "{message}");
    let message = cadft.refusal(&["train", "--set", "model.path=embedded:nothing"]);
    assert!(
        message.contains("`embedded:nothing`") && message.contains("`embedded:quickstart`"),
        "{message}"
    );
    assert!(!cadft.path("run").exists() && !cadft.path("runs").exists());
}

#[test]
fn the_quickstart_is_written_to_the_cache_and_can_be_planned() {
    let cadft = Cadft::new();
    let plan = json_lines(&cadft.answer(&["train", "--dry-run", "--json"])).remove(0);
    assert_eq!(plan["objective"], "cadft");
    assert_eq!(
        plan["warnings"],
        serde_json::json!([]),
        "the quickstart is to run without warnings"
    );
    let cached: Vec<_> = std::fs::read_dir(cadft.path("cache"))
        .expect("the cache")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "tokens")
        .collect();
    assert_eq!(cached.len(), 1, "{cached:?}");
    assert!(
        cached[0]
            .strip_prefix("quickstart-")
            .is_some_and(|hash| hash.len() == 12),
        "{cached:?}"
    );
}
