//! `cadft model`: inspect, convert, diff.

use crate::CADFT;
use cadft_tests::command::{lines, run};
use cadft_tests::fixture;
use std::fs;
use std::path::Path;

fn cadft(directory: &Path, args: &[&str]) -> String {
    run(CADFT, directory, &[&["model"], args].concat())
        .succeeded()
        .stdout
}

#[test]
fn inspection_counts_operations_and_orders_memory() {
    let found = lines(&cadft(&fixture("blackbox"), &["inspect", "model", "--json"])).remove(0);
    let number = |key: &str| found[key].as_f64().expect(key);
    let memory = |key: &str| found["memory_mib"][key].as_f64().expect(key);
    assert!((number("training_flops") - 3.0 * number("forward_flops")).abs() < 1.0);
    // Two operations for each weight that multiplies, and attention on top.
    assert!(number("forward_flops") > number("parameters"));
    assert!((memory("weights_f32") - 2.0 * memory("weights_bf16")).abs() < 1e-9);
    assert!(memory("training_lora_recompute") <= memory("training_lora"));
    assert!(memory("training_recompute") < memory("training"));
    assert!(memory("training_lora") < memory("training"));
}

#[test]
fn a_converted_model_differs_by_the_rounding_of_its_format() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| out.path().join(name).to_str().expect("UTF-8").to_owned();
    let (base, same, rounded) = (
        fixture("blackbox/model").to_str().expect("UTF-8").to_owned(),
        place("same"),
        place("rounded"),
    );
    cadft(
        out.path(),
        &[
            "convert",
            "--model",
            &base,
            "--out",
            &same,
            "--max-shard-size",
            "1",
        ],
    );
    let differences = lines(&cadft(out.path(), &["diff", &base, &same, "--json"]));
    assert!(!differences.is_empty(), "one line a tensor");
    for line in &differences {
        assert!(line["changed"] == 0 && line["kind"] == "values", "{line}");
    }
    assert!(cadft(out.path(), &["diff", &base, &same]).ends_with("tensors are equal\n"));
    for carried in ["tokenizer.json", "config.json"] {
        assert!(Path::new(&same).join(carried).is_file(), "{carried}");
    }

    cadft(
        out.path(),
        &["convert", "--model", &base, "--out", &rounded, "--dtype", "bf16"],
    );
    let rounded_by = lines(&cadft(out.path(), &["diff", &base, &rounded, "--json"]));
    assert_eq!(rounded_by.len(), differences.len());
    for line in &rounded_by {
        let relative = line["relative"].as_f64().expect("a number");
        assert!(relative <= 1.0 / 256.0, "{line}");
    }
    assert!(
        rounded_by.iter().any(|line| line["changed"].as_u64() > Some(0)),
        "{rounded_by:?}"
    );
    assert!(cadft(out.path(), &["diff", &base, &rounded]).contains("elements differ"));
}

#[test]
fn a_gguf_file_goes_out_and_comes_back() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let base = fixture("blackbox/model").to_str().expect("UTF-8").to_owned();
    let (file, again) = (out.path().join("model.gguf"), out.path().join("again"));
    let (file, again) = (file.to_str().expect("UTF-8"), again.to_str().expect("UTF-8"));
    let written = run(
        CADFT,
        out.path(),
        &[
            "model", "convert", "--model", &base, "--to", "gguf", "--out", file,
        ],
    );
    let _ = written.succeeded();
    cadft(out.path(), &["convert", "--gguf", file, "--out", again]);
    for line in lines(&cadft(out.path(), &["diff", &base, again, "--json"])) {
        let relative = line["relative"].as_f64().expect("a number");
        assert!(relative < 1.0 / 2048.0, "{line}");
    }
    let refused = run(
        CADFT,
        out.path(),
        &[
            "model", "convert", "--gguf", file, "--to", "gguf", "--out", "x.gguf",
        ],
    );
    refused.refused(&["`--to gguf`", "--model"]);
}

#[test]
fn saving_where_nothing_can_be_written_leaves_nothing() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let base = fixture("blackbox/model").to_str().expect("UTF-8").to_owned();
    let file = out.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let inside = file.join("model");
    let inside = inside.to_str().expect("UTF-8");
    let outcome = run(
        CADFT,
        out.path(),
        &["model", "convert", "--model", &base, "--out", inside],
    );
    outcome.refused(&["`--out`", "file/model", "cannot be a directory", "hint:"]);
    assert_eq!(fs::read_to_string(&file).expect("the file"), "in the way");
    assert_eq!(fs::read_dir(out.path()).expect("a directory").count(), 1);
}
