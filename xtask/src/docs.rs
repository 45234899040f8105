//! `cargo xtask docs`: API documentation with warnings as errors, then the book.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Builds both. If `mdbook` is not installed, skips the book with a message; `tidy` checks its links.
pub(crate) fn run() -> Result<()> {
    shell::run(
        shell::cargo_in_workspace("doc")
            .args(["--release", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if shell::succeeds("mdbook", &["--version"]) {
        return shell::run(
            Command::new("mdbook")
                .arg("build")
                .arg(shell::workspace_root().join("docs")),
        );
    }
    eprintln!(
        "mdbook is not installed: the book was not rendered (its links are checked by `cargo xtask tidy`)"
    );
    Ok(())
}
