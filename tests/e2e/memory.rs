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

#[test]
fn the_estimate_of_a_run_is_within_15_percent_of_its_peak() {
    let workspace = larger_workspace();
    for (recipe, setting) in [
        ("recipe.nll.toml", "model.recompute=none"),
        ("recipe.nll.toml", "model.recompute=blocks"),
        ("recipe.asft.toml", "model.recompute=none"),
    ] {
        let out = format!("{recipe}-{setting}");
        let args = [
            "train",
            "--recipe",
            recipe,
            "--set",
            "model.init=random",
            "--set",
            "data.eval=[]",
            "--set",
            "schedule.steps=2",
            "--set",
            setting,
        ];
        let planned = workspace
            .run(CADFT, &[&args[..], &["--dry-run", "--json"]].concat())
            .succeeded();
        let estimate = lines(&planned.stdout)[0]["memory_mib"]
            .as_f64()
            .expect("an estimate");
        let _ = workspace
            .run(CADFT, &[&args[..], &["--out", &out]].concat())
            .succeeded();
        let metrics = std::fs::read_to_string(workspace.path(&out).join("metrics.jsonl")).expect("metrics");
        let peak = steps(&metrics)[1]["peak_rss_mib"].as_f64().expect("a peak");
        let ratio = estimate / peak;
        assert!(
            (0.85..1.15).contains(&ratio),
            "{out}: {estimate:.0} MiB estimated, {peak:.0} measured"
        );
    }
}
