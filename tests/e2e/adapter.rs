//! Runs that train an adapter: the files that they write, and how the other commands use them.

use crate::CADFT;
use cadft_tests::command::{lines, run, steps};
use cadft_tests::{NLL, NLL_SAVED, SAME, fixture};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Trains an adapter with the black-box recipe. Returns the run's model directory.
fn trained(out: &Path, more: &[&str]) -> String {
    let directory = out.join("run").to_str().expect("UTF-8").to_owned();
    let mut args = vec!["train", "--recipe", "recipe.toml", "--out", &directory];
    args.extend(["--set", "adapter.rank=4", "--set", "adapter.alpha=8"]);
    args.extend([
        "--set",
        "objective=nll",
        "--set",
        "data.eval=[\"messages.jsonl\"]",
    ]);
    args.extend(more);
    let _ = run(CADFT, &fixture("blackbox"), &args).succeeded();
    directory
}

fn nll(args: &[&str]) -> f64 {
    let evaluated = run(CADFT, &fixture("blackbox"), args).succeeded();
    lines(&evaluated.stdout)[0]["nll"].as_f64().expect("nll")
}

/// The reference model is the model without the adapter. An untrained adapter does not change it.
#[test]
fn an_adapter_is_held_near_the_model_without_it() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let run = |name: &str, objective: &str| {
        let directory = trained(
            &out.path().join(name),
            &["--set", objective, "--set", "schedule.steps=6"],
        );
        steps(&fs::read_to_string(format!("{directory}/metrics.jsonl")).expect("metrics"))
    };
    let free = run("free", "objective.asft.lambda=0");
    let held = run("held", "objective.asft.lambda=5");
    let divergence = |line: &Value| line["mean_kl"].as_f64().expect("a divergence");
    assert!(divergence(&free[0]).abs() < 1e-6 && divergence(&held[0]).abs() < 1e-6);
    let (free, held) = (divergence(&free[5]), divergence(&held[5]));
    assert!(held > 1e-6 && free > 2.0 * held, "{held} nats held, {free} free");
}

#[test]
fn a_trained_adapter_is_evaluated_and_merged_to_the_same_likelihood() {
    for kind in ["lora", "dora"] {
        let out = tempfile::tempdir().expect("a temporary directory");
        let directory = trained(out.path(), &["--set", &format!("adapter.kind={kind}")]);
        let metrics = fs::read_to_string(format!("{directory}/metrics.jsonl")).expect("metrics");
        let evaluated: Vec<f64> = lines(&metrics)
            .iter()
            .filter(|line| line["event"] == "evaluated")
            .map(|line| line["nll"].as_f64().expect("nll"))
            .collect();
        let [before, after] = evaluated[..] else {
            panic!("two evaluations: {evaluated:?}");
        };
        assert!(
            after < before - 1e-2,
            "{kind}: the adapter learns, from {before} to {after}"
        );
        let adapter = format!("{directory}/model");
        assert!(Path::new(&adapter).join("adapter_model.safetensors").is_file());
        assert!(!Path::new(&adapter).join("model.safetensors").exists());

        let merged = format!("{directory}-merged");
        let _ = run(
            CADFT,
            &fixture("blackbox"),
            &[
                "model",
                "merge",
                "--model",
                "model",
                "--adapter",
                &adapter,
                "--out",
                &merged,
            ],
        )
        .succeeded();
        let data = ["--data", "messages.jsonl", "--json"];
        let plain = nll(&[&["evaluate", "--model", "model"], &data[..]].concat());
        let beside = nll(&[
            &["evaluate", "--model", "model", "--adapter", &adapter],
            &data[..],
        ]
        .concat());
        let alone = nll(&[&["evaluate", "--model", &adapter], &data[..]].concat());
        let merged = nll(&[&["evaluate", "--model", &merged], &data[..]].concat());
        NLL.assert_near(&format!("{kind}: beside, and merged"), beside, merged);
        SAME.assert_near(&format!("{kind}: an adapter names its model"), beside, alone);
        assert!(
            (beside - plain).abs() > 1e-3,
            "{kind}: the adapter does something"
        );
        NLL_SAVED.assert_near(&format!("{kind}: now, and in the run"), beside, after);
    }
}

/// A second run starts from the adapter of the first, with its settings: its evaluation before training equals that of
/// the first run at the end.
#[test]
fn an_adapter_is_trained_on_from_where_it_was() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let first = trained(&out.path().join("first"), &["--set", "adapter.dropout=0.0"]);
    let adapter = format!("{first}/model");
    let second = out.path().join("second").to_str().expect("UTF-8").to_owned();
    let from = format!("adapter.path={adapter}");
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        &second,
        "--set",
        &from,
        "--set",
        "objective=nll",
    ];
    let more = [
        "--set",
        "data.eval=[\"messages.jsonl\"]",
        "--set",
        "schedule.steps=2",
    ];
    let _ = run(CADFT, &fixture("blackbox"), &[&args[..], &more].concat()).succeeded();
    let evaluated = |directory: &str| -> Vec<f64> {
        let metrics = fs::read_to_string(format!("{directory}/metrics.jsonl")).expect("metrics");
        let lines = lines(&metrics);
        let evaluated = lines.iter().filter(|line| line["event"] == "evaluated");
        evaluated.map(|line| line["nll"].as_f64().expect("nll")).collect()
    };
    let (ended, began) = (evaluated(&first)[1], evaluated(&second)[0]);
    NLL.assert_near("where it began, and where the first one ended", began, ended);
    assert!(evaluated(&second)[1] < began, "it learns on");
    let settings = |directory: &str| -> Value {
        let path = format!("{directory}/model/adapter_config.json");
        serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
    };
    let (first, second) = (settings(&first), settings(&second));
    for key in [
        "r",
        "lora_alpha",
        "lora_dropout",
        "use_dora",
        "modules_to_save",
        "base_model_name_or_path",
    ] {
        assert_eq!(first[key], second[key], "{key}");
    }
    // Settings that the adapter's directory has must not be in the recipe too.
    let both = ["--set", "adapter.rank=16"];
    run(CADFT, &fixture("blackbox"), &[&args[..], &more, &both].concat()).refused(&[
        "`adapter.path`",
        "`rank`",
        "`path`",
    ]);
}

/// With PEFT's default, the head of a tied model stays as in the base. Here `ensure_weight_tying` is changed to false
/// after training.
#[test]
fn an_embedding_that_left_its_head_is_trained_on_apart() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let first = trained(
        &out.path().join("first"),
        &["--set", "adapter.modules-to-save=[\"embed_tokens\"]"],
    );
    let adapter = format!("{first}/model");
    let path = format!("{adapter}/adapter_config.json");
    let text = fs::read_to_string(&path).expect("a file");
    assert!(text.contains("\"ensure_weight_tying\": true"), "{text}");
    fs::write(
        &path,
        text.replace("\"ensure_weight_tying\": true", "\"ensure_weight_tying\": false"),
    )
    .expect("it is written");
    // The file still has the trained head, which PEFT would ignore: here it is refused by name.
    let second = out.path().join("second").to_str().expect("UTF-8").to_owned();
    let from = format!("adapter.path={adapter}");
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        &second,
        "--set",
        &from,
    ];
    run(CADFT, &fixture("blackbox"), &args).refused(&["`lm_head.weight`", "another model"]);
}

/// As in PEFT, relative to the current directory; if it does not exist there, relative to the adapter's directory.
#[test]
fn a_base_with_a_relative_path_is_found_from_the_adapter_too() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let adapter = format!("{}/model", trained(out.path(), &[]));
    let base = out.path().join("bases/tiny");
    fs::create_dir_all(&base).expect("a directory");
    for entry in fs::read_dir(fixture("blackbox/model")).expect("a model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, base.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let config = Path::new(&adapter).join("adapter_config.json");
    let text = fs::read_to_string(&config).expect("a configuration");
    let mut described: Value = serde_json::from_str(&text).expect("JSON");
    let data = ["--data", "messages.jsonl", "--json"];
    let beside = nll(&[
        &["evaluate", "--model", "model", "--adapter", &adapter],
        &data[..],
    ]
    .concat());
    described["base_model_name_or_path"] = "../../bases/tiny".into();
    fs::write(&config, described.to_string()).expect("it is written");
    let alone = [&["evaluate", "--model", &adapter], &data[..]].concat();
    SAME.assert_near("from the adapter's directory", nll(&alone), beside);
    described["base_model_name_or_path"] = "../../bases/gone".into();
    fs::write(&config, described.to_string()).expect("it is written");
    run(CADFT, &fixture("blackbox"), &alone).refused(&[
        "`../../bases/gone`",
        "neither from here nor",
        "--adapter",
    ]);
}

#[test]
fn what_is_not_a_model_is_told_from_one() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let adapter = format!("{}/model", trained(out.path(), &[]));
    let gguf = out.path().join("m.gguf");
    fs::write(&gguf, "GGUF").expect("it is written");
    let gguf = gguf.to_str().expect("UTF-8");
    let target = out.path().join("out");
    let target = target.to_str().expect("UTF-8");
    for (path, hint) in [(&adapter[..], "is an adapter"), (gguf, "convert --gguf")] {
        let setting = format!("model.path={path}");
        for args in [
            vec![
                "train",
                "--recipe",
                "recipe.toml",
                "--out",
                target,
                "--set",
                &setting,
            ],
            vec!["model", "convert", "--model", path, "--out", target],
            vec![
                "model", "convert", "--model", path, "--to", "gguf", "--out", target,
            ],
            vec![
                "model",
                "merge",
                "--model",
                path,
                "--adapter",
                &adapter,
                "--out",
                target,
            ],
        ] {
            run(CADFT, &fixture("blackbox"), &args).refused(&[path, hint]);
            assert!(!Path::new(target).exists());
        }
    }
    let inspect = |path| run(CADFT, &fixture("blackbox"), &["model", "inspect", path]);
    inspect(gguf).refused(&[gguf, "convert --gguf"]);
    assert!(
        inspect(&adapter).succeeded().stdout.contains("adapter"),
        "it names its model"
    );
}

#[test]
fn dropout_is_the_same_in_every_run_and_changes_with_the_seed() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let losses = |name: &str, seed: &str| -> Vec<Value> {
        let directory = trained(
            &out.path().join(name),
            &[
                "--set",
                "adapter.dropout=0.3",
                "--set",
                seed,
                "--set",
                "data.order=sequential",
            ],
        );
        let metrics = fs::read_to_string(format!("{directory}/metrics.jsonl")).expect("metrics");
        steps(&metrics).iter().map(|step| step["loss"].clone()).collect()
    };
    let first = losses("a", "run.seed=1");
    assert_eq!(first, losses("b", "run.seed=1"));
    assert_ne!(first, losses("c", "run.seed=2"));
}

#[test]
fn an_adapter_that_does_not_fit_is_refused_before_anything_is_written() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let directory = out.path().join("run");
    let train = |setting: &str| {
        let out = directory.to_str().expect("UTF-8");
        let args = ["train", "--recipe", "recipe.toml", "--out", out, "--set", setting];
        let outcome = run(CADFT, &fixture("blackbox"), &args);
        assert!(!directory.exists(), "nothing is written for bad input");
        outcome
    };
    train("adapter.rank=0").refused(&["`adapter.rank`", "at least 1"]);
    train("adapter.target-modules=q_proj").refused(&["`adapter.target-modules`", "[\"q_proj\"]"]);
    train("adapter.target-modules=[\"qproj\"]").refused(&["`adapter`", "`qproj`", "q_proj"]);
    train("adapter.ranks=3").refused(&["`adapter.ranks`", "did you mean `rank`"]);
}

#[test]
fn a_dry_run_counts_what_is_trained() {
    let args = ["train", "--recipe", "recipe.toml", "--dry-run", "--json"];
    let plan = |more: &[&str]| {
        let planned = run(CADFT, &fixture("blackbox"), &[&args[..], more].concat()).succeeded();
        lines(&planned.stdout).remove(0)
    };
    let (full, adapter) = (plan(&[]), plan(&["--set", "adapter.rank=1"]));
    assert_eq!(full["trainable"], full["parameters"]);
    let trained = |plan: &Value| plan["trainable"].as_u64().expect("a number");
    assert!(trained(&adapter) < trained(&full) / 4);
    assert!(adapter["memory_mib"].as_f64() < full["memory_mib"].as_f64());
}
