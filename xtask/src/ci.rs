//! `cargo xtask ci`: all checks except the tests.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{docs, reference, shell, tidy};

type Check = fn() -> Result<()>;

/// Runs every check, even after a failure, and lists those that failed.
pub(crate) fn run() -> Result<()> {
    let checks: [(&str, Check); 7] = [
        ("fmt", fmt),
        ("clippy", clippy),
        ("step alone", step_alone),
        ("docs", docs::run),
        ("tidy", tidy::run),
        ("reference", reference::check),
        ("package", package),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        let start = Instant::now();
        let outcome = check();
        eprintln!(
            "{name}: {} in {:.0} s",
            if outcome.is_ok() { "ok" } else { "FAILED" },
            start.elapsed().as_secs_f64()
        );
        if let Err(error) = outcome {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} of the checks failed: {}", failed.len(), failed.join(", "))
}

fn fmt() -> Result<()> {
    shell::run(shell::cargo_in_workspace("fmt").args(["--all", "--", "--check"]))
}

// The release profile: the tests have already compiled build scripts and macros in it.
fn clippy() -> Result<()> {
    shell::run(shell::cargo_in_workspace("clippy").args([
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// `cadft-step` as a program outside has it: `cadft-model` and `cadft-files` without files, Burn without `std`.
fn step_alone() -> Result<()> {
    shell::run(shell::cargo_in_workspace("clippy").args([
        "--release",
        "--package",
        "cadft-step",
        "--lib",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Packages every crate that is published, without compiling it: the tests do that.
fn package() -> Result<()> {
    shell::run(shell::cargo_in_workspace("package").args([
        "--quiet",
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "cadft-tests",
        "--no-verify",
        "--allow-dirty",
    ]))
}
