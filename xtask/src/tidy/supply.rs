//! Checks the sources of the crates in the lock files, and that the crates that parse foreign bytes have the versions
//! that were reviewed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::{Finding, Repository};

const LOCKS: [&str; 2] = ["Cargo.lock", "fuzz/Cargo.lock"];
const LOOKED_AT: &str = "supply-chain/untrusted.toml";
/// Suffix of the name of the only allowed registry.
const REGISTRY: &str = "/crates.io-index";

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in LOCKS {
        let Some(text) = repository.text(name) else {
            findings.push(Finding::new(
                Path::new(name),
                "is absent: builds are made from it",
            ));
            continue;
        };
        let packages = packages(text).with_context(|| format!("`{name}`"))?;
        findings.extend(
            packages
                .iter()
                .filter_map(|package| foreign(Path::new(name), package)),
        );
    }
    if let (Some(lock), Some(table)) = (repository.text(LOCKS[0]), repository.text(LOOKED_AT)) {
        findings.extend(not_looked_at(&versions(&packages(lock)?), table)?);
    } else {
        findings.push(Finding::new(Path::new(LOOKED_AT), "is absent"));
    }
    Ok(findings)
}

fn packages(lock: &str) -> Result<Vec<Table>> {
    let lock: Table = lock.parse()?;
    let packages = lock.get("package").and_then(Value::as_array);
    Ok(packages
        .into_iter()
        .flatten()
        .filter_map(|package| package.as_table().cloned())
        .collect())
}

fn word<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn words(table: &Table, key: &str) -> BTreeSet<String> {
    let list = table.get(key).and_then(Value::as_array);
    let words = list.into_iter().flatten().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

/// A finding for a package that is neither ours nor from the registry, or has no checksum.
fn foreign(lock: &Path, package: &Table) -> Option<Finding> {
    let name = word(package, "name");
    let source = word(package, "source");
    let is_ours = source.is_empty()
        && (name == "cadft" || name.starts_with("cadft-") || name == "xtask" || name == "cubecl-llvm");
    let is_registered = source.starts_with("registry+") && source.ends_with(REGISTRY);
    let has_checksum = word(package, "checksum").len() == 64;
    if is_ours || (is_registered && has_checksum) {
        return None;
    }
    let message = format!("`{name}` is from `{source}`, without a checksum or not from the registry");
    Some(Finding::new(lock, message))
}

/// The versions of each package.
fn versions(packages: &[Table]) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let of_name = versions.entry(word(package, "name").to_owned()).or_default();
        let _ = of_name.insert(word(package, "version").to_owned());
    }
    versions
}

/// Packages in the table whose versions differ from the lock file.
fn not_looked_at(locked: &BTreeMap<String, BTreeSet<String>>, table: &str) -> Result<Vec<Finding>> {
    let path = Path::new(LOOKED_AT);
    let mut findings = Vec::new();
    for package in packages(table).context(LOOKED_AT)? {
        let name = word(&package, "name");
        let known: BTreeSet<String> = words(&package, "versions")
            .union(&words(&package, "others"))
            .cloned()
            .collect();
        let found = locked.get(name).cloned().unwrap_or_default();
        for version in found.difference(&known) {
            findings.push(Finding::new(
                path,
                format!("`{name}` {version} is in `{}` and was not looked at", LOCKS[0]),
            ));
        }
        for version in known.difference(&found) {
            findings.push(Finding::new(
                path,
                format!("`{name}` {version} is in no lock file any more"),
            ));
        }
        let is_told = ["parses", "bounded"]
            .iter()
            .all(|key| !word(&package, key).is_empty());
        if !is_told {
            findings.push(Finding::new(
                path,
                format!("`{name}`: `parses` and `bounded` are not both there"),
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    const TABLE: &str =
        "[[package]]\nname = \"json\"\nversions = [\"1.0.0\"]\nparses = \"JSON\"\nbounded = \"by us\"\n";

    fn package(name: &str, version: &str, source: &str, checksum: &str) -> String {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{source}\"\nchecksum = \"{checksum}\"\n"
        )
    }

    fn check_one(lock: &str, table: &str) -> Vec<String> {
        let files = [(LOCKS[0], lock), (LOCKS[1], ""), (LOOKED_AT, table)];
        problems(&check(&repository_of(&files)).unwrap())
    }

    #[test]
    fn a_crate_that_is_from_elsewhere_or_has_no_checksum_is_found() {
        let registry = format!("registry+https://example.org{REGISTRY}");
        let (good, ours) = (
            "a".repeat(64),
            "[[package]]\nname = \"cadft-core\"\nversion = \"0.1.0\"\n",
        );
        let json = package("json", "1.0.0", &registry, &good);
        assert_eq!(check_one(&format!("{ours}{json}"), TABLE), Vec::<String>::new());
        for (source, checksum) in [
            ("git+https://example.org/json", good.as_str()),
            ("registry+https://example.org/other", &good),
            (&registry, ""),
            ("", &good),
        ] {
            let lock = format!("{json}{}", package("other", "1.0.0", source, checksum));
            assert_eq!(check_one(&lock, TABLE).len(), 1, "{source} {checksum}");
        }
    }

    #[test]
    fn a_parser_of_another_version_is_found() {
        let registry = format!("registry+https://example.org{REGISTRY}");
        let locked = |version: &str| package("json", version, &registry, &"a".repeat(64));
        let found = check_one(&locked("1.0.1"), TABLE);
        assert_eq!(found.len(), 2, "{found:?}");
        let both = format!("{}{}", locked("1.0.0"), locked("0.9.0"));
        assert_eq!(check_one(&both, TABLE).len(), 1);
        assert!(check_one(&both, &format!("{TABLE}others = [\"0.9.0\"]\n")).is_empty());
        assert_eq!(check_one(&locked("1.0.0"), &TABLE.replace("by us", "")).len(), 1);
    }
}
