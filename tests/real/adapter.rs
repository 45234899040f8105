//! A LoRA adapter of SmolLM2: trained, loaded again, merged.

use super::directory;
use burn::tensor::{Device, Int, Tensor, TensorData};
use cadft_model::adapter;
use cadft_model::checkpoint;
use cadft_tests::MERGED_LOGITS;
use cadft_tests::arrays::values;
use cadft_tests::command::{run, steps};
use std::fs;
use std::path::Path;

const BINARY: &str = env!("CARGO_BIN_EXE_cadft-under-test");

/// Trains two steps. Returns the directory of the adapter.
fn train(out: &Path) -> String {
    let rows: Vec<String> = (1..5)
        .map(|i| format!(r#"{{"prompt":"{i} + {i} =","completion":" {}"}}"#, 2 * i))
        .collect();
    fs::write(out.join("train.jsonl"), rows.join("\n")).expect("a file");
    let recipe = "objective = \"nll\"\n[data]\ntrain = [\"train.jsonl\"]\n[batch]\nglobal = 4\nmicro = 4\n\
                  [optimizer]\nlr = 1e-3\n[schedule]\nsteps = 2\nwarmup = 0.0\n[adapter]\nrank = 16\n";
    fs::write(out.join("recipe.toml"), recipe).expect("a file");
    let model = format!("model.path={}", directory().display());
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--set",
        &model,
    ];
    let _ = run(BINARY, out, &args).succeeded();
    let metrics = fs::read_to_string(out.join("run/metrics.jsonl")).expect("metrics");
    let nll: Vec<f64> = steps(&metrics)
        .iter()
        .filter_map(|step| step["nll"].as_f64())
        .collect();
    assert!(nll[1] < nll[0], "the adapter does not learn: {nll:?}");
    out.join("run/model").to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_trained_adapter_reads_back_and_merged_it_gives_the_same_logits() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let trained = train(out.path());
    let base = directory().to_str().expect("UTF-8").to_owned();
    let merge = [
        "model",
        "merge",
        "--model",
        &base,
        "--adapter",
        &trained,
        "--out",
        "merged",
    ];
    let _ = run(BINARY, out.path(), &merge).succeeded();

    let device = Device::flex();
    let ids: Vec<i64> = (0..24).map(|index| 1000 * index + 17).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 24]), &device);
    let loaded = checkpoint::load(&directory(), &device).expect("the model");
    let plain = values(loaded.model.logits(loaded.model.hidden_states(ids.clone())));
    let adapted =
        adapter::load(trained.as_ref(), loaded.model, &loaded.config).expect("the adapter reads back");
    let adapted = adapted.model;
    let beside = values(adapted.logits(adapted.hidden_states(ids.clone())));
    let merged = checkpoint::load(&out.path().join("merged"), &device).expect("the merged model");
    let merged = values(merged.model.logits(merged.model.hidden_states(ids)));

    let largest = beside
        .iter()
        .fold(0.0f64, |largest, logit| largest.max(logit.abs()));
    let difference = |other: &[f64]| {
        let pairs = beside.iter().zip(other);
        pairs.fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs())) / largest
    };
    MERGED_LOGITS.assert_close("merged and unmerged logits", &merged, &beside);
    let of_plain = difference(&plain);
    assert!(of_plain > 1e-3, "the adapter changes logits by {of_plain:e} only");
}
