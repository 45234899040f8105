//! Rebuilds the crate when an embedded file is added or removed, and records the commit that the program is built from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=assets");
    println!("cargo:rerun-if-changed=.cargo_vcs_info.json");
    println!("cargo:rerun-if-env-changed=CADFT_COMMIT");
    // `rerun-if-changed` above turns off Cargo's default, a rebuild after every change in the package. So a checkout
    // may be later than the recorded commit, and the text says so.
    let known = std::env::var("CADFT_COMMIT").ok().or_else(of_package);
    let commit = known.or_else(|| Some(format!("{} or later, from a checkout", of_checkout()?)));
    println!(
        "cargo:rustc-env=CADFT_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}

/// The commit that `cargo package` recorded.
fn of_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    Some(rest.split('"').nth(1)?.to_owned())
}

fn of_checkout() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
