//! A batch of one shard is computed as by the program that knew no shards, to the last bit.
//!
//! `one-shard.jsonl` has the steps of that program (commit 286058c) on the golden curve, and the SHA-256 of its weights. The model and its
//! batches are so small that no sum is cut by the width of a register or the size of a cache: the bits are the same with AVX2 and with
//! AVX-512. On other systems the curve is compared with a tolerance (`train::the_golden_curve`).

use crate::CADFT;
use cadft_tests::command::{lines, run};
use cadft_tests::fixture;
use cadft_tests::runs::VOLATILE;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

#[test]
fn one_shard_has_the_bits_of_the_program_without_shards() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let run_directory = out.path().join("run");
    let path = run_directory.to_str().expect("a UTF-8 path");
    // That program knew rows with padding only, and its own batches.
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        path,
        "--set",
        "batch.packing=none",
    ];
    let _ = run(CADFT, &fixture("curve"), &args).succeeded();
    let found = trained(&run_directory);
    let before = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/one-shard.jsonl");
    let before = lines(&fs::read_to_string(before).expect("the steps of that program"));
    assert_eq!(found.len(), 41);
    for (found, before) in found.iter().zip(&before) {
        assert_eq!(found, before);
    }
}

/// The steps, without what depends on the machine, and the SHA-256 of the weights.
fn trained(run: &Path) -> Vec<Value> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let mut found = lines(&metrics);
    found.retain(|line| line.get("event").is_none());
    for step in &mut found {
        let step = step.as_object_mut().expect("an object");
        step.retain(|key, _| !VOLATILE.contains(&key.as_str()));
    }
    let weights = Sha256::digest(fs::read(run.join("model/model.safetensors")).expect("weights"));
    let weights: String = weights.iter().map(|byte| format!("{byte:02x}")).collect();
    found.push(json!({ "weights": weights }));
    found
}
