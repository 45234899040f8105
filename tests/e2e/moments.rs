//! Runs with moments that are kept in fewer bits, or on the host, and with other optimizers.

use crate::CADFT;
use crate::memory::{estimate_and_peak, larger_workspace};
use crate::saved::evaluations;
use cadft_tests::{Workspace, runs};
use std::collections::BTreeMap;
use std::fs;

const EVAL: &str = "data.eval=[\"eval.jsonl\"]";

fn trained(setting: &str, more: &[&str]) -> Workspace {
    let workspace = Workspace::new();
    let setting = format!("optimizer.{setting}");
    let _ = workspace.trained(CADFT, &[&[EVAL, &setting][..], more].concat());
    workspace
}

/// The NLL before and after training.
fn nll(workspace: &Workspace) -> [f64; 2] {
    let [(_, before), (_, after)] = evaluations(&workspace.path("run"))[..] else {
        panic!("two evaluations");
    };
    [before, after]
}

/// Continues the run from its first checkpoint, and asserts that model and moments have the same bytes.
fn assert_continues(workspace: &Workspace, what: &str) {
    let args = [
        "train",
        "--resume",
        "run/checkpoints/step-000010",
        "--out",
        "again",
    ];
    let _ = workspace.run(CADFT, &args).succeeded();
    let (whole, again) = (weights(workspace, "run"), weights(workspace, "again"));
    let last = "model/model.safetensors";
    assert!(whole[last] == again[last], "{what}: the model");
    let of_optimizer = |files: &BTreeMap<String, Vec<u8>>| {
        let found = files.iter().rfind(|(name, _)| name.contains("optimizer"));
        found
            .map(|(name, bytes)| (name.clone(), bytes.clone()))
            .expect("a file")
    };
    assert!(
        of_optimizer(&whole) == of_optimizer(&again),
        "{what}: the moments"
    );
}

/// Files whose bytes depend on the steps alone.
fn weights(workspace: &Workspace, run: &str) -> BTreeMap<String, Vec<u8>> {
    let of_weights = |(name, _): &(String, Vec<u8>)| name.ends_with(".safetensors");
    runs::remains(&workspace.path(run))
        .into_iter()
        .filter(of_weights)
        .collect()
}

#[test]
fn runs_with_smaller_moments_end_near_those_in_f32_and_continue_to_the_same_bytes() {
    let [before, exact] = nll(&trained("moments=f32", &[]));
    for (moments, of_optimizer) in [("bf16", "\"BF16\""), ("int8", "\"U8\""), ("host", "\"F32\"")] {
        let workspace = trained(&format!("moments={moments}"), &[]);
        let [_, after] = nll(&workspace);
        let moved = (after - before) / (exact - before);
        assert!(
            (moved - 1.0).abs() < 0.05,
            "{moments}: {moved} of the change with f32"
        );
        let checkpoint = "run/checkpoints/step-000010";
        let state = fs::read(workspace.path(checkpoint).join("training/optimizer.safetensors"));
        let header = String::from_utf8_lossy(&state.expect("a file")).into_owned();
        assert!(header.contains(of_optimizer), "{moments}");
        assert_continues(&workspace, moments);
    }
}

/// Arguments that go on from a checkpoint with another setting.
fn going_on_with(setting: &str) -> [&str; 7] {
    let checkpoint = "run/checkpoints/step-000010";
    [
        "train", "--resume", checkpoint, "--out", "other", "--set", setting,
    ]
}

#[test]
fn runs_with_other_optimizers_learn_and_continue_to_the_same_bytes() {
    for kind in ["adafactor", "muon"] {
        let more = ["objective=nll", "optimizer.lr=3e-4"];
        let workspace = trained(&format!("kind={kind}"), &more);
        let [before, after] = nll(&workspace);
        assert!(after < before, "{kind}: from {before} to {after}");
        assert_continues(&workspace, kind);
        let other = going_on_with("optimizer.kind=adamw");
        workspace
            .run(CADFT, &other)
            .refused(&["`optimizer.kind`", &format!("was `{kind}`"), "hint: "]);
        workspace
            .run(CADFT, &[&other[..], &["--allow-change"]].concat())
            .refused(&["belongs to no trained parameter of this model under `optimizer.kind`"]);
        Workspace::new()
            .run(
                CADFT,
                &[
                    "train",
                    "--recipe",
                    "recipe.toml",
                    "--dry-run",
                    "--set",
                    &format!("optimizer.kind={kind}"),
                    "--set",
                    "optimizer.moments=bf16",
                    "--set",
                    "batch.shards=2",
                ],
            )
            .refused(&["`optimizer.kind`", "`optimizer.moments`", "whole matrices"]);
    }
}

#[test]
fn moments_on_the_host_leave_the_bytes_of_those_on_the_cpu() {
    let [on_device, on_host] = ["moments=f32", "moments=host"].map(|moments| trained(moments, &[]));
    let [on_device, on_host] = [on_device, on_host].map(|workspace| weights(&workspace, "run"));
    assert_eq!(
        on_device.keys().collect::<Vec<_>>(),
        on_host.keys().collect::<Vec<_>>()
    );
    assert!(on_device == on_host);
}

#[test]
fn another_format_is_one_change_that_must_be_allowed() {
    let workspace = trained("moments=int8", &[]);
    let other = going_on_with("optimizer.moments=bf16");
    workspace
        .run(CADFT, &other)
        .refused(&["`optimizer.moments`: was `int8`, is `bf16`", "hint: "]);
    let _ = workspace
        .run(CADFT, &[&other[..], &["--allow-change"]].concat())
        .succeeded();
}

#[test]
fn ranks_share_moments_in_bf16_and_refuse_those_in_8_bits() {
    let [alone, shared] = ["1", "2"].map(|ranks| {
        let workspace = Workspace::new();
        let args = [
            "train",
            "--recipe",
            "recipe.toml",
            "--out",
            "run",
            "--set",
            "optimizer.moments=bf16",
            "--set",
            "batch.shards=2",
            "--ranks",
            ranks,
        ];
        let _ = workspace.run(CADFT, &args).succeeded();
        weights(&workspace, "run")
    });
    assert!(alone == shared);
    let refused = [
        "train",
        "--recipe",
        "recipe.toml",
        "--ranks",
        "2",
        "--set",
        "optimizer.moments=int8",
    ];
    Workspace::new()
        .run(CADFT, &refused)
        .refused(&["`optimizer.moments`", "`int8`", "`bf16`"]);
}

#[test]
fn moments_take_the_memory_that_the_plan_says() {
    let workspace = larger_workspace();
    let measured = |setting: &str| {
        let set = format!("optimizer.{setting}");
        let settings = ["checkpoint.every=0", "model.recompute=blocks", &set];
        estimate_and_peak(&workspace, "recipe.nll.toml", &settings)
    };
    let of_f32 = measured("moments=f32");
    for setting in ["moments=bf16", "moments=int8", "kind=adafactor", "kind=muon"] {
        let (estimate, peak) = measured(setting);
        assert!(
            peak < 1.15 * estimate,
            "{setting}: {estimate:.0} MiB estimated, {peak:.0} measured"
        );
        let [estimated, found] = [of_f32.0 - estimate, of_f32.1 - peak];
        assert!(
            (0.8..1.25).contains(&(found / estimated)),
            "{setting}: {found} MiB spared of {estimated}"
        );
    }
}
