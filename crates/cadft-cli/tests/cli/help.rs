//! Help, version, doctor, and refused usage.

use super::{Cadft, json_lines};

#[test]
fn allowing_a_change_needs_a_run_to_go_on_from() {
    let message = Cadft::new().refusal(&["train", "--allow-change"]);
    assert!(message.contains("--resume"), "{message}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = Cadft::new().answer(&["-V"]);
    assert_eq!(version.trim(), format!("cadft {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_that_makes_no_sense_is_refused() {
    let cadft = Cadft::new();
    for (args, part) in [
        (vec!["tarin"], "'train'"),
        (vec!["evaluate", "--data", "x.jsonl"], "--model <DIR>"),
        (vec!["evaluate", "--model", "m"], "--data <FILE>"),
        (vec!["generate", "--model", "m"], "--prompt <TEXT>"),
        (
            vec!["generate", "--model", "m", "--prompt", "a", "--data", "b"],
            "cannot be used with",
        ),
        (
            vec![
                "generate",
                "--model",
                "m",
                "--prompt",
                "a",
                "--greedy",
                "--temperature",
                "1",
            ],
            "cannot be used with",
        ),
        (
            vec!["score", "--model", "m", "--data", "x", "--beta=-1"],
            "'--beta <B>'",
        ),
        (
            vec!["evaluate", "--model", "m", "--data", "x", "--micro", "0"],
            "'--micro <N>'",
        ),
        (
            vec!["score", "--model", "m", "--data", "x", "--max-length", "0"],
            "'--max-length <N>'",
        ),
        (
            vec!["score", "--model", "m", "--data", "x", "--template", "chatlm"],
            "`chatml`",
        ),
    ] {
        // These paths do not exist: the usage must be refused before they are looked at.
        let message = cadft.refusal(&args);
        assert!(message.contains(part), "{args:?}: no {part} in\n{message}");
    }
}

#[test]
fn the_doctor_finds_the_cpu() {
    let report = json_lines(&Cadft::new().answer(&["doctor", "--json"])).remove(0);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let backends = report["backends"].as_array().expect("a list");
    let flex = backends
        .iter()
        .find(|backend| backend["name"] == "flex")
        .expect("flex");
    assert_eq!(flex["works"], true);
    assert!(flex["dtypes"].as_array().expect("a list").contains(&"f32".into()));
}

#[test]
fn an_unknown_device_is_refused_with_the_known_ones() {
    let message = Cadft::new().refusal(&["train", "--device", "tpu"]);
    assert!(
        message.contains("error: `tpu`: unknown device; known are flex"),
        "{message}"
    );
}

#[cfg(not(feature = "rocm"))]
#[test]
fn a_backend_that_is_not_built_in_is_refused_with_what_is_and_the_command() {
    let message = Cadft::new().refusal(&["train", "--device", "rocm"]);
    assert!(message.contains("not built with `rocm`"), "{message}");
    assert!(message.contains("it has flex"), "{message}");
    assert!(
        message.contains("hint: build it in with `cargo xtask train --backend rocm`"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::Stdio;
    let cadft = Cadft::new();
    let mut child = cadft
        .command(&["recipe", "show", "quickstart", "--resolved"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let ran = super::ran(child.wait_with_output().expect("the command ends"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}
