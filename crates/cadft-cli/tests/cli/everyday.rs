//! Features that every command has: quiet mode, completions, manual pages, versions.

use super::{Cadft, fixture};

#[test]
fn a_quiet_command_says_nothing_but_its_answer() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("messages.jsonl"));
    for args in [
        &[
            "train",
            "--model",
            &model,
            "--data",
            &data,
            "--steps",
            "2",
            "--set",
            "batch.global=16",
            "--quiet",
            "--out",
            "run",
        ][..],
        &[
            "score", "-q", "--model", &model, "--data", &data, "--out", "z.jsonl",
        ],
        &["model", "convert", "--quiet", "--model", &model, "--out", "copy"],
        &["data", "validate", "--quiet", "--data", &data],
    ] {
        let ran = cadft.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        assert!(
            !ran.stderr.contains("next ") && !ran.stderr.contains("step 1"),
            "{args:?}: {}",
            ran.stderr
        );
    }
    assert!(cadft.path("run/model/model.safetensors").is_file());
}

#[test]
fn shells_and_man_get_what_they_read() {
    let cadft = Cadft::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = cadft.answer(&["completions", shell]);
        assert!(script.contains("resume") && script.contains("rewrite"), "{shell}");
    }
    let page = cadft.answer(&["man"]);
    assert!(page.contains(".TH cadft 1") && page.contains("train"), "{page}");
    cadft.answer(&["man", "--out", "pages"]);
    for name in ["cadft.1", "cadft-train.1", "cadft-model-merge.1"] {
        assert!(cadft.path("pages").join(name).is_file(), "{name}");
    }
    assert!(!cadft.path("pages/cadft-reference.1").exists(), "it is hidden");
}

#[test]
fn the_version_says_what_the_program_is_made_from() {
    let cadft = Cadft::new();
    let long = cadft.answer(&["--version"]);
    for part in ["cadft 0.", "\ncommit ", "\nburn ", "\nbackends "] {
        assert!(long.contains(part), "`{part}` is not in\n{long}");
    }
    assert_eq!(cadft.answer(&["-V"]).lines().count(), 1);
}
