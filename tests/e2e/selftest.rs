//! `cadft selftest` on every backend, and the origin of its data.

use crate::CADFT;
use cadft_tests::command::{lines, run};
use cadft_tests::{backends, fixture};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_check_passes_on_every_backend() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    for (device, tf32) in backends()
        .into_iter()
        .flat_map(|device| [(device, "true"), (device, "false")])
    {
        let args = ["selftest", "--device", device, "--tf32", tf32, "--json"];
        let checks = lines(&run(CADFT, empty.path(), &args).succeeded().stdout);
        assert!(checks.len() > 60, "{device}: {} checks", checks.len());
        let names: BTreeSet<_> = checks.iter().map(|check| check["check"].as_str()).collect();
        assert_eq!(
            names.len(),
            checks.len(),
            "{device}: every check has its own name"
        );
        for check in &checks {
            assert_eq!(check["passed"], true, "{device}: {check}");
            assert!(
                check["error"].as_f64() <= check["tolerance"].as_f64(),
                "{device}: {check}"
            );
        }
    }
    let left = fs::read_dir(empty.path()).expect("a directory").count();
    assert_eq!(left, 0, "it leaves nothing behind");
}

#[test]
fn its_data_are_the_fixtures_of_the_suites() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cadft-cli/selftest");
    for (copy, original, files) in [
        (
            "tiny",
            "tiny-llama-tied",
            &["config.json", "model.safetensors", "expected.safetensors"][..],
        ),
        (
            "run",
            "blackbox",
            &["recipe.toml", "messages.jsonl", "expected.exact.jsonl"],
        ),
        (
            "run/model",
            "blackbox/model",
            &[
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json",
            ],
        ),
    ] {
        for file in files {
            let bytes = |path: &Path| fs::read(path.join(file)).expect("a file");
            assert!(
                bytes(&data.join(copy)) == bytes(&fixture(original)),
                "{copy}/{file} is another"
            );
        }
    }
}
