//! Runs with moments that are kept in fewer bits, or on the host.

use crate::CADFT;
use crate::memory::larger_workspace;
use crate::saved::evaluations;
use cadft_tests::command::{lines, steps};
use cadft_tests::{Workspace, runs};
use std::collections::BTreeMap;
use std::fs;

const EVAL: &str = "data.eval=[\"eval.jsonl\"]";

fn trained(moments: &str, more: &[&str]) -> Workspace {
    let workspace = Workspace::new();
    let moments = format!("optimizer.moments={moments}");
    let _ = workspace.trained(CADFT, &[&[EVAL, &moments][..], more].concat());
    workspace
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
fn runs_with_smaller_moments_learn_as_much_and_continue_to_the_same_bytes() {
    let nll = |workspace: &Workspace| {
        let [(_, before), (_, after)] = evaluations(&workspace.path("run"))[..] else {
            panic!("two evaluations");
        };
        [before, after]
    };
    let [before, exact] = nll(&trained("f32", &[]));
    for (moments, of_optimizer) in [("bf16", "\"BF16\""), ("int8", "\"U8\""), ("host", "\"F32\"")] {
        let workspace = trained(moments, &[]);
        let [_, after] = nll(&workspace);
        let learnt = (before - after) / (before - exact);
        assert!(
            (learnt - 1.0).abs() < 0.05,
            "{moments}: {learnt} of what f32 learns"
        );
        let checkpoint = "run/checkpoints/step-000010";
        let state = fs::read(workspace.path(checkpoint).join("training/optimizer.safetensors"));
        let header = String::from_utf8_lossy(&state.expect("a file")).into_owned();
        assert!(header.contains(of_optimizer), "{moments}");
        let args = ["train", "--resume", checkpoint, "--out", "again"];
        let _ = workspace.run(CADFT, &args).succeeded();
        let (whole, again) = (weights(&workspace, "run"), weights(&workspace, "again"));
        let last = "model/model.safetensors";
        assert!(whole[last] == again[last], "{moments}: the model");
        let moments_of = |files: &BTreeMap<String, Vec<u8>>| {
            let (name, bytes) = files
                .iter()
                .rfind(|(name, _)| name.contains("optimizer"))
                .expect("a file");
            (name.clone(), bytes.clone())
        };
        assert!(moments_of(&whole) == moments_of(&again), "{moments}: the moments");
    }
}

#[test]
fn moments_on_the_host_leave_the_bytes_of_those_on_the_cpu() {
    let [on_device, on_host] = ["f32", "host"].map(|moments| trained(moments, &[]));
    let [on_device, on_host] = [on_device, on_host].map(|workspace| weights(&workspace, "run"));
    assert_eq!(
        on_device.keys().collect::<Vec<_>>(),
        on_host.keys().collect::<Vec<_>>()
    );
    assert!(on_device == on_host);
}

#[test]
fn another_format_is_one_change_that_must_be_allowed() {
    let workspace = trained("int8", &[]);
    let other = [
        "train",
        "--resume",
        "run/checkpoints/step-000010",
        "--out",
        "other",
        "--set",
        "optimizer.moments=bf16",
    ];
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
    let measured = |moments: &str| {
        let set = format!("optimizer.moments={moments}");
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
            "checkpoint.every=0",
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
            .run(CADFT, &[&args[..], &["--out", moments]].concat())
            .succeeded();
        let metrics = fs::read_to_string(workspace.path(moments).join("metrics.jsonl")).expect("metrics");
        let peak = steps(&metrics)[1]["peak_rss_mib"].as_f64().expect("a peak");
        (estimate, peak)
    };
    let [of_f32, of_bf16, of_int8] = ["f32", "bf16", "int8"].map(measured);
    for (moments, (estimate, peak)) in [("bf16", of_bf16), ("int8", of_int8)] {
        assert!(
            peak < 1.15 * estimate,
            "{moments}: {estimate:.0} MiB estimated, {peak:.0} measured"
        );
        let [estimated, found] = [of_f32.0 - estimate, of_f32.1 - peak];
        assert!(
            (0.8..1.25).contains(&(found / estimated)),
            "{moments}: {found} MiB spared of {estimated}"
        );
    }
}
