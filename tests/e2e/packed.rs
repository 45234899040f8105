//! Runs that train an adapter on a packed base: what they leave, what continues them, and what memory they take.

use crate::CADFT;
use crate::memory::{estimate_and_peak, larger_workspace};
use crate::saved::{evaluations, merge, nll};
use cadft_tests::command::run;
use cadft_tests::{NLL, NLL_SAVED, Workspace, fixture};
use std::fs;

const ADAPTER: [&str; 3] = ["adapter.rank=4", "adapter.alpha=8", "objective=nll"];

#[test]
fn an_adapter_is_trained_on_a_packed_base_used_on_the_f32_one_and_merged_into_either() {
    let trained = |base: &str, kind: &str| {
        let workspace = Workspace::new();
        let (base, kind) = (format!("adapter.base={base}"), format!("adapter.kind={kind}"));
        let settings = [&base, &kind, "data.eval=[\"eval.jsonl\"]"];
        let run = workspace.trained(CADFT, &[&ADAPTER[..], &settings].concat());
        let [(_, before), (_, after)] = evaluations(&run)[..] else {
            panic!("two evaluations");
        };
        (workspace, run, before, after)
    };
    let [of_lora, of_dora] = ["lora", "dora"].map(|kind| trained("f32", kind).3);
    // How far the NLL after training may be from that on the base in f32, relative to it: what a format rounds away.
    for (base, kind, unpacked, relative) in [
        ("bf16", "lora", of_lora, 2e-4),
        ("int8", "dora", of_dora, 1e-3),
        ("nf4", "lora", of_lora, 5e-3),
        ("nf4", "dora", of_dora, 5e-3),
    ] {
        let (workspace, run, before, after) = trained(base, kind);
        let what = format!("{kind} on {base}");
        assert!(after < before, "{what}: from {before} to {after}");
        assert!(
            (after - unpacked).abs() < relative * unpacked,
            "{what}: {after}, on the base in f32 {unpacked}"
        );
        let adapter = run.join("model");
        let config = fs::read_to_string(adapter.join("adapter_config.json")).expect("a file");
        assert!(!config.contains(base), "PEFT has no key for it:\n{config}");

        let adapter = adapter.to_str().expect("UTF-8");
        let merged = |out: &str, more: &[&str]| {
            merge(&workspace, adapter, out, more);
            nll(&workspace, &["--model", out])
        };
        let beside = nll(&workspace, &["--model", "model", "--adapter", adapter]);
        NLL.assert_near(
            &format!("{what}: beside, and merged"),
            beside,
            merged("plain", &[]),
        );
        let as_trained = merged("packed", &["--base", base]);
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
    let settings = ["adapter.base=nf4", "adapter.dropout=0.1"];
    let _ = workspace.trained(CADFT, &[&ADAPTER[..], &settings].concat());
    let text = fs::read_to_string(workspace.path("run/config.resolved.toml")).expect("a recipe");
    assert!(text.contains("base = \"nf4\""), "{text}");
    let from = "run/checkpoints/step-000010";
    let resumed = ["train", "--resume", from, "--out", "again"];
    let said = workspace.run(CADFT, &resumed).succeeded().stderr;
    assert!(
        said.contains("merge --model again --out DIR --base nf4"),
        "{said}"
    );
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
fn an_update_of_the_output_weight_is_merged_into_a_packed_base() {
    let [model, adapter] = ["tiny-llama-untied", "foreign-adapters/head"].map(fixture);
    let out = tempfile::tempdir().expect("a temporary directory");
    let merged = out.path().join("merged");
    let [model, adapter, merged] = [&model, &adapter, &merged].map(|path| path.to_str().expect("UTF-8"));
    let args = ["model", "merge", "--model", model, "--adapter", adapter];
    let _ = run(
        CADFT,
        out.path(),
        &[&args[..], &["--base", "nf4", "--out", merged]].concat(),
    )
    .succeeded();
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
        let settings = ["adapter.rank=4", "model.recompute=blocks", &set];
        estimate_and_peak(&workspace, "recipe.nll.toml", &settings)
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
