//! Checks the directions of dependencies between crates, and that there is one version of Burn.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use toml::{Table, Value};

use super::{Finding, Repository};

/// A package, the prefix of package names that it must not depend on, even in tests, and the reason.
const FORBIDDEN: [(&str, &str, &str); 21] = [
    ("cadft-core", "cadft-", "the mathematics stands alone"),
    ("cadft-model", "cadft-", "the model does not know the objectives"),
    ("cadft-batch", "cadft-", "the others depend on it"),
    ("cadft-batch", "burn", "it builds in seconds, without Burn"),
    ("cadft-data", "cadft-", "the data does not know who reads it"),
    ("cadft-data", "burn", "it builds in seconds, without Burn"),
    ("cadft-data", "cubecl", "it builds in seconds, without Burn"),
    (
        "cadft-hub",
        "cadft-",
        "it brings files, and does not know what they are for",
    ),
    ("cadft-hub", "burn", "it builds in seconds, without Burn"),
    ("cadft-hub", "cubecl", "it builds in seconds, without Burn"),
    ("cadft-files", "cadft-", "the others depend on it"),
    ("cadft-files", "burn", "it builds in seconds, without Burn"),
    ("cadft-step", "cadft-files", "a step does no input or output"),
    ("cadft-step", "cadft-train", "a step knows no run"),
    ("cadft-step", "cadft-cli", "a step knows no command line"),
    ("cadft-step", "toml", "a step reads no recipe"),
    ("cadft-step", "clap", "a step reads no command line"),
    ("cadft-step", "cadft-hub", "a step does no input or output"),
    ("cadft-step", "tempfile", "a step does no input or output"),
    ("cadft-kernels", "cadft-", "the others depend on it"),
    ("xtask", "cadft-", "automation must build when the crates do not"),
];

/// What a package may depend on all the same: data makes samples, core and model share kernels, and several write files.
const ALLOWED: [(&str, &str); 6] = [
    ("cadft-data", "cadft-batch"),
    ("cadft-data", "cadft-files"),
    ("cadft-hub", "cadft-files"),
    ("cadft-model", "cadft-files"),
    ("cadft-core", "cadft-kernels"),
    ("cadft-model", "cadft-kernels"),
];

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in repository.with_extension("toml") {
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            findings.extend(check_manifest(path, text));
        }
    }
    Ok(findings)
}

fn check_manifest(path: &Path, text: &str) -> Vec<Finding> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![Finding::new(path, format!("does not parse: {}", error.message()))],
    };
    let name = table
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
        .unwrap_or("");
    let mut findings = Vec::new();
    for dependency in dependencies(&table) {
        for (_, start, reason) in FORBIDDEN.iter().filter(|(package, ..)| *package == name) {
            let is_allowed = ALLOWED.contains(&(name, dependency.as_str()));
            if dependency.starts_with(start) && !is_allowed {
                findings.push(Finding::new(
                    path,
                    format!("`{name}` depends on `{dependency}`: {reason}"),
                ));
            }
        }
    }
    findings
}

/// The package names of all dependencies: normal, for tests, for builds, and platform-specific.
fn dependencies(table: &Table) -> BTreeSet<String> {
    let platforms = table
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values);
    let tables = platforms.filter_map(Value::as_table).chain([table]);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flatten()
        .map(|(key, value)| {
            value
                .get("package")
                .and_then(Value::as_str)
                .unwrap_or(key)
                .to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    fn check_one(text: &str) -> Vec<String> {
        problems(&check(&repository_of(&[("crates/a/Cargo.toml", text)])).unwrap())
    }

    #[test]
    fn data_and_hub_may_not_use_burn_in_any_table_or_under_another_name() {
        let package = "[package]\nname = \"cadft-data\"\n";
        for (name, dependency) in [
            ("cadft-hub", "burn"),
            ("cadft-hub", "cadft-data"),
            ("cadft-data", "cadft-hub"),
        ] {
            let text =
                format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependency}.workspace = true\n");
            assert_eq!(check_one(&text).len(), 1, "{name} -> {dependency}");
        }
        for dependency in [
            "[dependencies]\nburn.workspace = true",
            "[dev-dependencies]\nburn-nn = \"1\"",
            "[target.'cfg(unix)'.dependencies]\ntensors = { package = \"burn\", version = \"1\" }",
        ] {
            assert_eq!(
                check_one(&format!("{package}{dependency}\n")).len(),
                1,
                "{dependency}"
            );
        }
        assert!(check_one(&format!("{package}[dependencies]\nserde = \"1\"\n")).is_empty());
    }

    #[test]
    fn core_and_model_do_not_know_each_other() {
        for (one, other) in [("cadft-core", "cadft-model"), ("cadft-model", "cadft-core")] {
            let text = format!("[package]\nname = \"{one}\"\n[dependencies]\n{other}.workspace = true\n");
            assert_eq!(check_one(&text).len(), 1, "{one} -> {other}");
        }
        let train = "[package]\nname = \"cadft-train\"\n[dependencies]\ncadft-core = \"0.1\"\ncadft-model = \"0.1\"\n";
        assert!(check_one(train).is_empty());
    }

    #[test]
    fn core_and_model_share_kernels_and_data_does_not_know_them() {
        for (name, findings) in [
            ("cadft-core", 0),
            ("cadft-model", 0),
            ("cadft-data", 1),
            ("xtask", 1),
        ] {
            let text =
                format!("[package]\nname = \"{name}\"\n[dependencies]\ncadft-kernels.workspace = true\n");
            assert_eq!(check_one(&text).len(), findings, "{name}");
        }
    }

    #[test]
    fn a_step_knows_no_recipe_no_run_and_no_file() {
        for dependency in [
            "toml",
            "clap",
            "tempfile",
            "cadft-files",
            "cadft-hub",
            "cadft-train",
        ] {
            let text =
                format!("[package]\nname = \"cadft-step\"\n[dependencies]\n{dependency}.workspace = true\n");
            assert_eq!(check_one(&text).len(), 1, "{dependency}");
        }
        let model = "[package]\nname = \"cadft-step\"\n[dependencies]\ncadft-model.workspace = true\n";
        assert!(check_one(model).is_empty());
    }
}
