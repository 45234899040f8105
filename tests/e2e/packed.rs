//! Runs that train an adapter on a packed base: what they leave, what continues them, and what memory they take.

use crate::CADFT;
use crate::memory::larger_workspace;
use cadft_tests::command::{lines, run, steps};
use cadft_tests::{NLL, NLL_SAVED, Workspace, fixture};
use std::fs;
use std::path::Path;

const ADAPTER: [&str; 6] = [
    "--set",
    "adapter.rank=4",
    "--set",
    "adapter.alpha=8",
    "--set",
    "objective=nll",
];

fn nll(args: &[&str]) -> f64 {
    let data = ["--data", "messages.jsonl", "--json"];
    let evaluated = run(CADFT, &fixture("blackbox"), &[args, &data].concat()).succeeded();
    lines(&evaluated.stdout)[0]["nll"].as_f64().expect("nll")
}

/// The evaluations of a run.
fn evaluated(directory: &str) -> Vec<f64> {
    let metrics = fs::read_to_string(format!("{directory}/metrics.jsonl")).expect("metrics");
    let lines = lines(&metrics);
    let evaluated = lines.iter().filter(|line| line["event"] == "evaluated");
    evaluated.map(|line| line["nll"].as_f64().expect("nll")).collect()
}

fn merged(adapter: &str, out: &str, more: &[&str]) -> f64 {
    let args = [
        "model",
        "merge",
        "--model",
        "model",
        "--adapter",
        adapter,
        "--out",
        out,
    ];
    let _ = run(CADFT, &fixture("blackbox"), &[&args[..], more].concat()).succeeded();
    nll(&["evaluate", "--model", out])
}

#[test]
fn an_adapter_is_trained_on_a_packed_base_used_on_the_f32_one_and_merged_into_either() {
    for (base, kind) in [
        ("bf16", "lora"),
        ("int8", "dora"),
        ("nf4", "lora"),
        ("nf4", "dora"),
    ] {
        let out = tempfile::tempdir().expect("a temporary directory");
        let directory = out.path().join("run").to_str().expect("UTF-8").to_owned();
        let (base_key, kind_key) = (format!("adapter.base={base}"), format!("adapter.kind={kind}"));
        let args = [
            "train",
            "--recipe",
            "recipe.toml",
            "--out",
            &directory,
            "--set",
            &base_key,
            "--set",
            &kind_key,
            "--set",
            "data.eval=[\"messages.jsonl\"]",
        ];
        let _ = run(CADFT, &fixture("blackbox"), &[&args[..], &ADAPTER].concat()).succeeded();
        let what = format!("{kind} on {base}");
        let [before, after] = evaluated(&directory)[..] else {
            panic!("two evaluations");
        };
        assert!(after < before - 1e-2, "{what}: from {before} to {after}");
        let adapter = format!("{directory}/model");
        let config = fs::read_to_string(Path::new(&adapter).join("adapter_config.json")).expect("a file");
        assert!(!config.contains(base), "PEFT has no key for it:\n{config}");

        let beside = nll(&["evaluate", "--model", "model", "--adapter", &adapter]);
        let plain = merged(&adapter, &format!("{directory}-plain"), &[]);
        NLL.assert_near(&format!("{what}: beside, and merged"), beside, plain);
        let as_trained = merged(&adapter, &format!("{directory}-packed"), &["--base", base]);
        NLL_SAVED.assert_near(
            &format!("{what}: merged into the unpacked base"),
            as_trained,
            after,
        );
        assert!((beside - after).abs() > 1e-6, "{what}: the base was rounded");
        assert!((beside - after).abs() < 0.05 * after, "{what}: {beside} {after}");
    }
}

#[test]
fn a_run_on_a_packed_base_continues_to_the_same_bytes_and_not_on_another_base() {
    let workspace = Workspace::new();
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--set",
        "adapter.base=nf4",
    ];
    let _ = workspace
        .run(
            CADFT,
            &[&args[..], &ADAPTER, &["--set", "adapter.dropout=0.1"]].concat(),
        )
        .succeeded();
    let text = fs::read_to_string(workspace.path("run/config.resolved.toml")).expect("a recipe");
    assert!(text.contains("base = \"nf4\""), "{text}");
    let from = "run/checkpoints/step-000010";
    let resumed = ["train", "--resume", from, "--out", "again"];
    let _ = workspace.run(CADFT, &resumed).succeeded();
    let model = |name: &str| {
        fs::read(workspace.path(&format!("{name}/model/adapter_model.safetensors"))).expect("an adapter")
    };
    assert!(
        model("run") == model("again"),
        "the run continues to the same bytes"
    );
    let other = [
        "train",
        "--resume",
        from,
        "--out",
        "other",
        "--set",
        "adapter.base=int8",
    ];
    workspace
        .run(CADFT, &other)
        .refused(&["`adapter.base`: was `nf4`, is `int8`", "hint: "]);
}

#[test]
fn a_base_that_cannot_be_is_refused_with_everything_else_that_is_wrong() {
    let train = |more: &[&str]| {
        run(
            CADFT,
            &fixture("blackbox"),
            &[&["train", "--recipe", "recipe.toml", "--dry-run"], more].concat(),
        )
    };
    // Every weight would be trained, and there is nothing to freeze.
    train(&["--set", "adapter.base=nf4", "--set", "optimizer.lr=-1"]).refused(&[
        "`adapter.base`",
        "and there is none",
        "`optimizer.lr`",
        "hint: ",
    ]);
    train(&["--set", "adapter.rank=4", "--set", "adapter.base=fp4"]).refused(&["`adapter.base`", "`nf4`"]);
}

#[test]
fn a_packed_base_takes_the_memory_that_the_plan_says() {
    let workspace = larger_workspace();
    let measured = |base: &str| {
        let set = format!("adapter.base={base}");
        let args = [
            "train",
            "--recipe",
            "recipe.nll.toml",
            "--set",
            "model.init=random",
            "--set",
            "data.eval=[]",
            "--set",
            "schedule.steps=2",
            "--set",
            "adapter.rank=4",
            "--set",
            "model.recompute=blocks",
            "--set",
            &set,
        ];
        let planned = workspace
            .run(CADFT, &[&args[..], &["--dry-run", "--json"]].concat())
            .succeeded();
        let estimate = lines(&planned.stdout)[0]["memory_mib"].as_f64().expect("one");
        let _ = workspace
            .run(CADFT, &[&args[..], &["--out", base]].concat())
            .succeeded();
        let metrics = fs::read_to_string(workspace.path(base).join("metrics.jsonl")).expect("metrics");
        let peak = steps(&metrics)[1]["peak_rss_mib"].as_f64().expect("a peak");
        (estimate, peak)
    };
    let (of_f32, of_nf4) = (measured("f32"), measured("nf4"));
    for (base, (estimate, peak)) in [("f32", of_f32), ("nf4", of_nf4)] {
        assert!(
            peak < 1.15 * estimate,
            "{base}: {estimate:.0} MiB estimated, {peak:.0} measured"
        );
    }
    // 25 million weights in the blocks: 96 MiB in f32, 12 packed, and 3 that a product unpacks.
    let [estimated, found] = [of_f32.0 - of_nf4.0, of_f32.1 - of_nf4.1];
    assert!((78.0..84.0).contains(&estimated), "{estimated} MiB spared");
    assert!(
        (0.8..1.25).contains(&(found / estimated)),
        "{found} MiB spared of {estimated}: {of_f32:?}, {of_nf4:?}"
    );
}
