//! The bits of a run with one shard, so that no change for several shards or ranks changes what one computes.
//!
//! `one-shard.jsonl` has the steps of the golden curve and the SHA-256 of its weights. The model and its batches are so small that no sum is
//! cut by the width of a register or the size of a cache: AVX2 and AVX-512 give the same bits, on one thread and on two. The program
//! that had no shards (commit 286058c) and the first one that had them (f8b8034) wrote the same bits as each other. Faster kernels
//! have added gradients in another order since, so that these are the bits of e9aca67. On other systems the curve is compared with a
//! tolerance (`train::the_golden_curve`). A change that is meant to change rounding replaces the file, and says so.

use crate::CADFT;
use cadft_tests::command::{lines, run};
use cadft_tests::fixture;
use cadft_tests::runs::VOLATILE;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

#[test]
fn one_shard_has_the_bits_that_are_on_record() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let run_directory = out.path().join("run");
    let path = run_directory.to_str().expect("a UTF-8 path");
    let args = ["train", "--recipe", "recipe.toml", "--out", path];
    let _ = run(CADFT, &fixture("curve"), &args).succeeded();
    let found = trained(&run_directory);
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/one-shard.jsonl");
    let record = lines(&fs::read_to_string(record).expect("the record"));
    assert_eq!((found.len(), record.len()), (41, 41));
    for (found, record) in found.iter().zip(&record) {
        assert_eq!(found, record);
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
