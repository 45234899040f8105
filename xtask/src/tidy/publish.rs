//! Checks that every published crate has the metadata that its registry page needs, and a README.

use std::path::Path;

use anyhow::Result;
use toml::{Table, Value};

use super::{Finding, Repository};

/// Keys that a manifest must have, directly or from the workspace.
const KEYS: [&str; 8] = [
    "description",
    "license",
    "repository",
    "homepage",
    "documentation",
    "readme",
    "keywords",
    "categories",
];

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(repository
        .with_extension("toml")
        .filter(|(path, _)| path.starts_with("crates") && path.ends_with("Cargo.toml"))
        .flat_map(|(path, text)| check_manifest(repository, path, text))
        .collect())
}

fn check_manifest(repository: &Repository, path: &Path, text: &str) -> Vec<Finding> {
    // A manifest that does not parse is reported by the check of dependencies.
    let table: Table = text.parse().unwrap_or_default();
    let Some(package) = table.get("package").and_then(Value::as_table) else {
        return vec![];
    };
    if package.get("publish").and_then(Value::as_bool) == Some(false) {
        return vec![];
    }
    let mut missing: Vec<&str> = KEYS
        .into_iter()
        .filter(|key| !package.contains_key(*key))
        .collect();
    let docs_rs = (package.get("metadata")).and_then(|metadata| metadata.get("docs")?.get("rs"));
    if docs_rs.is_none() {
        missing.push("metadata.docs.rs");
    }
    let mut findings = Vec::new();
    if !missing.is_empty() {
        findings.push(Finding::new(
            path,
            format!("`[package]` has no {}", missing.join(", ")),
        ));
    }
    let keywords = package.get("keywords").and_then(Value::as_array);
    if keywords.is_some_and(|keywords| keywords.len() > 5) {
        findings.push(Finding::new(
            path,
            "more than five keywords: a registry refuses them",
        ));
    }
    let readme = path.with_file_name("README.md");
    match readme.to_str().and_then(|readme| repository.text(readme)) {
        Some(text) if text.contains("## What is promised") => {}
        Some(_) => findings.push(Finding::new(&readme, "no section `What is promised`")),
        None => findings.push(Finding::new(path, "no `README.md` beside it")),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    const COMPLETE: &str = "[package]\nname = \"a\"\ndescription = \"b\"\nlicense.workspace = true\n\
        repository.workspace = true\nhomepage.workspace = true\ndocumentation = \"c\"\nreadme = \"README.md\"\n\
        keywords = [\"d\"]\ncategories.workspace = true\n[package.metadata.docs.rs]\nfeatures = []\n";
    const README: (&str, &str) = ("crates/a/README.md", "# a\n\n## What is promised\n\nNothing.\n");

    fn found(manifest: &str, readme: Option<(&str, &str)>) -> Vec<String> {
        let texts: Vec<_> = [("crates/a/Cargo.toml", manifest)]
            .into_iter()
            .chain(readme)
            .collect();
        problems(&check(&repository_of(&texts)).unwrap())
    }

    #[test]
    fn a_complete_manifest_with_a_readme_is_fine() {
        assert!(found(COMPLETE, Some(README)).is_empty());
    }

    #[test]
    fn each_missing_key_is_named() {
        for key in KEYS {
            let without: String = (COMPLETE.lines())
                .filter(|line| !line.starts_with(key))
                .map(|line| format!("{line}\n"))
                .collect();
            let problems = found(&without, Some(README));
            assert!(
                problems.len() == 1 && problems[0].contains(key),
                "{key}: {problems:?}"
            );
        }
        let (without, _) = COMPLETE.split_once("[package.metadata").unwrap();
        assert!(found(without, Some(README))[0].contains("metadata.docs.rs"));
    }

    #[test]
    fn a_missing_readme_or_promise_and_too_many_keywords_are_found() {
        assert_eq!(found(COMPLETE, None).len(), 1);
        assert_eq!(found(COMPLETE, Some(("crates/a/README.md", "# a\n"))).len(), 1);
        let many = COMPLETE.replace("[\"d\"]", "[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]");
        assert_eq!(found(&many, Some(README)).len(), 1);
    }

    #[test]
    fn what_is_not_published_needs_none_of_this() {
        assert!(found("[package]\nname = \"a\"\npublish = false\n", None).is_empty());
    }
}
