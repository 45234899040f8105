//! The estimate of memory compared with the memory of runs.

use crate::CADFT;
use cadft_tests::Workspace;
use cadft_tests::command::{lines, steps};
use serde_json::{Value, json};

/// A model with about 30 million parameters: most of the memory of training is not the program's own.
pub(crate) fn larger_workspace() -> Workspace {
    let workspace = Workspace::new();
    let text = std::fs::read_to_string(workspace.path("model/config.json")).expect("a config");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in [
        ("hidden_size", 512),
        ("intermediate_size", 1536),
        ("num_hidden_layers", 8),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
    ] {
        config[key] = json!(value);
    }
    workspace.write("model/config.json", &config.to_string());
    workspace
}

/// The estimate of a run of two steps from random weights, and its peak, in MiB.
pub(crate) fn estimate_and_peak(workspace: &Workspace, recipe: &str, settings: &[&str]) -> (f64, f64) {
    let common = ["model.init=random", "data.eval=[]", "schedule.steps=2"];
    let mut args = vec!["train", "--recipe", recipe];
    args.extend(
        common
            .iter()
            .chain(settings)
            .flat_map(|setting| ["--set", setting]),
    );
    let planned = workspace
        .run(CADFT, &[&args[..], &["--dry-run", "--json"]].concat())
        .succeeded();
    let estimate = lines(&planned.stdout)[0]["memory_mib"]
        .as_f64()
        .expect("an estimate");
    let out = format!("{recipe}-{}", settings.join("-"));
    let _ = workspace
        .run(CADFT, &[&args[..], &["--out", &out]].concat())
        .succeeded();
    let metrics = std::fs::read_to_string(workspace.path(&out).join("metrics.jsonl")).expect("metrics");
    let peak = steps(&metrics)[1]["peak_rss_mib"].as_f64().expect("a peak");
    (estimate, peak)
}

#[test]
fn the_estimate_of_a_run_is_within_15_percent_of_its_peak() {
    let workspace = larger_workspace();
    for (recipe, setting) in [
        ("recipe.nll.toml", "model.recompute=none"),
        ("recipe.nll.toml", "model.recompute=blocks"),
        ("recipe.asft.toml", "model.recompute=none"),
    ] {
        let (estimate, peak) = estimate_and_peak(&workspace, recipe, &[setting]);
        let ratio = estimate / peak;
        assert!(
            (0.85..1.15).contains(&ratio),
            "{recipe}, {setting}: {estimate:.0} MiB estimated, {peak:.0} measured"
        );
    }
}

/// Arguments of a dry run of the larger model.
const DRY: [&str; 8] = [
    "train",
    "--recipe",
    "recipe.nll.toml",
    "--dry-run",
    "--json",
    "--set=model.init=random",
    "--set=data.eval=[]",
    "--set=checkpoint.every=0",
];

fn planned(workspace: &Workspace, set: &[String]) -> Value {
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    lines(
        &workspace
            .run(CADFT, &[&DRY[..], &set].concat())
            .succeeded()
            .stdout,
    )
    .remove(0)
}

/// The settings of a rung as options.
fn options(rung: &Value) -> Vec<String> {
    let settings = rung.as_array().expect("settings").iter();
    settings
        .map(|setting| format!("--set={}", setting.as_str().expect("a string")))
        .collect()
}

#[test]
fn each_rung_of_the_ladder_takes_what_it_says_and_less_than_the_one_above() {
    let workspace = larger_workspace();
    for first in ["--set=batch.global=8", "--set=adapter.rank=4"] {
        let plan = planned(&workspace, &[first.to_owned()]);
        let mut above = plan["memory_mib"].as_f64().expect("an estimate");
        let rungs = plan["ladder"].as_array().expect("rungs");
        assert!(rungs.len() >= 3, "{plan}");
        for rung in rungs {
            let with = planned(
                &workspace,
                &[&[first.to_owned()], &options(&rung["settings"])[..]].concat(),
            );
            for key in ["memory_mib", "saving_mib"] {
                assert_eq!(with[key], rung[key], "{rung}");
            }
            let takes = rung["memory_mib"].as_f64().expect("an estimate");
            assert!(takes < above, "{rung}");
            above = takes;
        }
    }
}

#[test]
fn what_fits_is_named_and_taken_if_the_recipe_leaves_it_to_the_plan() {
    let workspace = larger_workspace();
    let mut config: Value = serde_json::from_str(
        &std::fs::read_to_string(workspace.path("model/config.json")).expect("a config"),
    )
    .expect("JSON");
    // Some 0.7 billion parameters, of which no weights are needed: 14 GiB with moments and gradients.
    for (key, value) in [
        ("hidden_size", 2048),
        ("intermediate_size", 8192),
        ("num_hidden_layers", 14),
    ] {
        config[key] = json!(value);
    }
    config["head_dim"] = json!(64);
    workspace.write("model/config.json", &config.to_string());
    let of = |more: &[&str]| {
        let more: Vec<String> = more.iter().map(|&set| set.to_owned()).collect();
        planned(&workspace, &more)
    };
    let card = "--set=guard.memory-of=card-12gb";
    let plan = of(&[card, "--set=guard.memory=warn"]);
    assert_eq!(plan["room_mib"], json!(11.0 * 1024.0));
    let fits = plan["fits"].clone();
    assert!(!fits.as_array().expect("settings that fit").is_empty(), "{plan}");
    let taken = of(&[card, "--set=guard.memory=auto"]);
    assert_eq!(taken["fits"], json!([]), "{taken}");
    let most = taken["memory_mib"].as_f64().expect("one") + taken["saving_mib"].as_f64().expect("one");
    assert!(most <= 11.0 * 1024.0, "{taken}");
    let warning = taken["warnings"][0]["message"].as_str().expect("a warning");
    assert!(
        warning.contains(fits[0].as_str().expect("a setting")),
        "{warning}"
    );
    // Not with any setting that trains the same parameters.
    let text = workspace.run(
        CADFT,
        &[
            &DRY[..],
            &["--set=guard.memory-of=card-8gb", "--set=guard.memory=auto"],
        ]
        .concat(),
    );
    text.refused(&["MiB are available on `card-8gb`", "hint: "]);
    // Ranks that ask the system at different times might take different settings.
    let text = workspace.run(
        CADFT,
        &[&DRY[..], &["--ranks=2", "--set=guard.memory=auto"]].concat(),
    );
    text.refused(&["`guard.memory`", "guard.memory-of"]);
}
