//! What `cadft-step` brings with it: of everything that Cargo builds for it, nothing reads recipes, files or command lines.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Finding, Repository};
use crate::shell;

const PACKAGE: &str = "cadft-step";
const MANIFEST: &str = "crates/cadft-step/Cargo.toml";
/// Beginnings of names that may not be in its tree.
const FORBIDDEN: [&str; 16] = [
    "arrow",
    "cadft-data",
    "cadft-hub",
    "cadft-train",
    "clap",
    "console",
    "hf-hub",
    "indicatif",
    "memmap2",
    "minijinja",
    "parquet",
    "safetensors",
    "tempfile",
    "tokenizers",
    "toml",
    "ureq",
];

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut cargo = shell::cargo_in_workspace("tree");
    cargo
        .current_dir(&repository.root)
        .args(["--package", PACKAGE, "--edges", "normal", "--prefix", "none"]);
    let output = cargo.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(forbidden(&String::from_utf8_lossy(&output.stdout)))
}

/// The packages of a tree, a line each, that may not be in it.
fn forbidden(tree: &str) -> Vec<Finding> {
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| FORBIDDEN.iter().any(|start| name.starts_with(start)))
        .map(|name| {
            let problem =
                format!("Cargo builds `{name}` for `{PACKAGE}`: a step knows no recipe and no file");
            Finding::new(Path::new(MANIFEST), problem)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_reads_recipes_or_files_is_found_at_any_depth() {
        let tree = "cadft-step v0.1.0 (/a)\nburn v0.22.1\ncadft-model v0.1.0 (/b)\nsafetensors v0.8.0\ntempfile v3.27.0\n";
        let problems = crate::tidy::problems(&forbidden(tree));
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].contains("`safetensors`") && problems[1].contains("`tempfile`"),
            "{problems:?}"
        );
        assert!(forbidden("cadft-step v0.1.0\nserde v1.0.0 (*)\n").is_empty());
    }
}
