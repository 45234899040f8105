//! `cadft bench` on every backend.

use crate::CADFT;
use burn::tensor::DType;
use cadft_tests::backends;
use cadft_tests::command::{lines, run};
use std::fs;

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": true}"#;
/// Embedding, four projections, three of the feed-forward block, three norms.
const PARAMETERS: u64 = 64 * 16 + (16 * 16 + 16 * 8 + 16 * 8 + 16 * 16) + 3 * 16 * 32 + 3 * 16;

#[test]
fn objectives_are_trained_in_turns_on_the_same_model() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("config.json"), CONFIG).expect("it is written");
    for device in backends() {
        let args = [
            "bench",
            "--config",
            ".",
            "--device",
            device,
            "--global",
            "3",
            "--micro",
            "2",
            "--length",
            "12",
            "--steps",
            "3",
            "--warmup",
            "1",
            "--running",
            "--json",
        ];
        let measured = lines(&run(CADFT, directory.path(), &args).succeeded().stdout);
        let [nll, cadft] = &measured[..] else {
            panic!("{device}: {measured:?}")
        };
        for (name, measured) in [("nll", nll), ("cadft", cadft)] {
            assert_eq!(measured["objective"], name);
            assert_eq!(measured["device"], device);
            assert_eq!(measured["parameters"], PARAMETERS);
            assert_eq!(measured["tokens"], 3 * 12);
            let secs = measured["secs"].as_array().expect("a list");
            assert_eq!(secs.len(), 3);
            assert!(secs.contains(&measured["median_secs"]), "{measured}");
            let first = measured["first_nll"].as_f64().expect("a number");
            assert!((first - 64f64.ln()).abs() < 0.1, "{device}: {first}");
            assert!(
                measured["last_nll"].as_f64() < Some(first),
                "{device}: {measured}"
            );
        }
        // The second objective continues from the model that the first has trained.
        assert!(
            cadft["first_nll"].as_f64() < nll["first_nll"].as_f64(),
            "{device}"
        );
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_its_place() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("config.json"), CONFIG).expect("it is written");
    for (args, part) in [
        (&["--config", "nowhere.json"][..], "nowhere.json"),
        (&["--config", ".", "--objectives", "nll,dtf"], "`dtf`"),
        (&["--config", ".", "--precision", "f16"], "f32, bf16"),
        (&["--config", ".", "--length", "1"], "at least 2"),
    ] {
        let args: Vec<&str> = ["bench"].iter().chain(args).copied().collect();
        run(CADFT, directory.path(), &args).refused(&[part]);
    }
}

#[test]
fn a_number_format_is_used_where_the_device_has_it_and_refused_where_it_has_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("config.json"), CONFIG).expect("it is written");
    for device in backends() {
        let opened = cadft_train::device::parse(device).expect("a device");
        let args = [
            "bench",
            "--config",
            ".",
            "--device",
            device,
            "--precision",
            "bf16",
            "--global",
            "2",
            "--length",
            "8",
            "--steps",
            "1",
            "--warmup",
            "1",
            "--json",
        ];
        let outcome = run(CADFT, directory.path(), &args);
        if opened.supports_dtype(DType::BF16) {
            assert!(!lines(&outcome.succeeded().stdout).is_empty(), "{device}");
        } else {
            outcome.refused(&[device, "has no bf16", "hint: "]);
        }
    }
}

/// The logits of a forward pass are 64 MiB, which the allocator of the C library gives back to the system by default.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_steady_step_touches_no_new_memory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = CONFIG.replace("\"vocab_size\": 64", "\"vocab_size\": 32768");
    fs::write(directory.path().join("config.json"), config).expect("it is written");
    let args = [
        "bench",
        "--config=.",
        "--objectives=nll",
        "--global=4",
        "--micro=2",
        "--length=512",
        "--steps=4",
        "--warmup=2",
        "--json",
    ];
    let measured = lines(&run(CADFT, directory.path(), &args).succeeded().stdout);
    let faults = measured[0]["page_faults"].as_u64().expect("a number");
    assert!(faults < (64 << 20) / 4096, "{faults} pages");
}
