//! Checkpoints that were damaged, deleted, or rotated away.

use super::{CADFT, train};
use cadft_tests::{Workspace, runs};
use cadft_train::{checkpoint, resume};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_flipped_bit_or_a_cut_in_any_member_is_detected_and_named() {
    let workspace = Workspace::new();
    let more = ["--set", "checkpoint.every=10", "--set", "checkpoint.dtype=bf16"];
    let _ = train(&workspace, &more).succeeded();
    let last = workspace.path("run/checkpoints/step-000020");
    let members = files(&last);
    assert_eq!(members.len(), 8, "{members:?}");
    for member in &members {
        let good = fs::read(member).expect("a member");
        let name = member.file_name().expect("a name").to_string_lossy().into_owned();
        let refused = |what: &str| {
            let error = checkpoint::open(&last).expect_err(what).to_string();
            assert!(error.contains(&name), "{what} in {name}: {error}");
        };
        // Places spread over the file, including its first and its last byte.
        for part in 0..=20 {
            let place = part * (good.len() - 1) / 20;
            let mut bad = good.clone();
            bad[place] ^= 1 << (part % 8);
            fs::write(member, &bad).expect("a member");
            if name == "manifest.json" {
                // A wrong digest cannot be distinguished from a wrong file.
                assert!(checkpoint::open(&last).is_err(), "bit {place} of the manifest");
            } else {
                refused(&format!("a flipped bit at {place}"));
            }
        }
        fs::write(member, &good[..good.len() - 1]).expect("a member");
        refused("a byte cut off");
        fs::write(member, []).expect("a member");
        refused("an empty file");
        fs::remove_file(member).expect("a member");
        refused("no file");
        fs::write(member, &good).expect("a member");
        assert!(checkpoint::open(&last).is_ok());
    }
}

#[test]
fn the_checkpoint_before_a_damaged_one_is_offered_and_taken() {
    let workspace = Workspace::new();
    let _ = train(&workspace, &["--set", "checkpoint.every=10"]).succeeded();
    let run = workspace.path("run");
    let expected = runs::remains(&run);
    let moments = run.join("checkpoints/step-000020/training/optimizer.safetensors");
    let mut bytes = fs::read(&moments).expect("moments");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&moments, bytes).expect("moments");

    let args = ["train", "--resume", "run/checkpoints/step-000020"];
    workspace
        .run(CADFT, &args)
        .refused(&["optimizer.safetensors", "SHA-256", "--resume", "step-000014"]);
    let found = resume::newest(&run).expect("an earlier one");
    assert!(
        found
            .checkpoint
            .is_some_and(|checkpoint| checkpoint.state.step == 14)
    );
    assert!(found.warnings[0].message.contains("optimizer.safetensors"));
    let outcome = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    assert!(
        outcome.stderr.contains("optimizer.safetensors"),
        "{}",
        outcome.stderr
    );
    runs::assert_same(&runs::remains(&run), &expected, "from the one before");
    assert!(run.join("checkpoints/step-000020.damaged").exists());
}

#[test]
fn the_best_checkpoint_outlives_rotation_and_can_be_deleted_without_harm() {
    let workspace = Workspace::new();
    // A learning rate at which the evaluation gets worse after a few steps.
    let more = [
        "--set",
        "optimizer.lr=0.05",
        "--set",
        "evaluate.every=2",
        "--set",
        "checkpoint.every=2",
        "--set",
        "checkpoint.keep=1",
    ];
    let _ = train(&workspace, &more).succeeded();
    let run = workspace.path("run");
    let evaluated = |line: &String| -> Option<(usize, f64)> {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["event"] == "evaluated").then_some(())?;
        Some((
            usize::try_from(line["step"].as_u64()?).ok()?,
            line["nll"].as_f64()?,
        ))
    };
    let all: Vec<(usize, f64)> = runs::metrics(&run).iter().filter_map(evaluated).collect();
    let best = (all.iter().filter(|(step, _)| *step > 0))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("an evaluation")
        .0;
    assert!(
        (1..20).contains(&best),
        "the best should not be the last: {all:?}"
    );
    let kept: Vec<String> = runs::checkpoints(&run)
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(kept, [format!("step-{best:06}"), "step-000020".to_owned()]);

    let expected = runs::remains(&run);
    fs::remove_dir_all(run.join("checkpoints").join(&kept[0])).expect("the best");
    let _ = workspace.run(CADFT, &["train", "--resume", "run"]).succeeded();
    runs::assert_same(&runs::remains(&run), &expected, "without the best");
}

#[test]
fn a_checkpoint_is_a_model_directory() {
    let workspace = Workspace::new();
    let _ = train(&workspace, &["--set", "checkpoint.every=10"]).succeeded();
    let args = [
        "evaluate",
        "--model",
        "run/checkpoints/step-000014",
        "--data",
        "eval.jsonl",
        "--json",
    ];
    let _ = workspace.run(CADFT, &args).succeeded();
}
