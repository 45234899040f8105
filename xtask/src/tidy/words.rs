//! Checks that the repository is independent: it contains no paths of one machine, and no host of one package registry.

use std::path::Path;

use anyhow::Result;

use super::{Finding, Repository};

/// Prefixes of paths on one machine. Split, so that this file does not contain them.
const MACHINE_PATHS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/t", "mp/")];

const REGISTRY_HOSTS: [&str; 7] = [
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("crates", ".io/"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("registry.npm", "js"),
    concat!("deb.deb", "ian.org"),
];

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in repository.texts.iter().filter(|(path, _)| is_checked(path)) {
        for (index, line) in text.lines().enumerate() {
            let hosts = REGISTRY_HOSTS.iter().filter(|host| line.contains(**host));
            findings.extend(hosts.map(|host| {
                Finding::at(
                    path,
                    index + 1,
                    format!("`{host}`: the host of a registry; packages are named, not fetched"),
                )
            }));
            let machine = MACHINE_PATHS
                .iter()
                .filter(|start| !may_name_paths(path) && holds_path(line, start));
            findings.extend(machine.map(|start| {
                Finding::at(
                    path,
                    index + 1,
                    format!("`{start}`: a path of one machine; use one relative to something"),
                )
            }));
        }
    }
    Ok(findings)
}

/// Lock files name their registry; fixtures are data, and may contain any text.
fn is_checked(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name != "Cargo.lock") && !path.starts_with("tests/fixtures")
}

/// Tests may name paths that do not exist.
fn may_name_paths(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
}

/// Whether `start` begins an absolute path in this line; it may also be the middle of a longer path.
fn holds_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "._-}$/".contains(c)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    fn check_one(path: &str, text: &str) -> Vec<String> {
        problems(&check(&repository_of(&[(path, text)])).unwrap())
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for start in MACHINE_PATHS {
            assert_eq!(
                check_one("docs/a.md", &format!("see `{start}x`")).len(),
                1,
                "{start}"
            );
            assert!(
                check_one("docs/a.md", &format!("see `$HOME{start}x` and `a{start}x`")).is_empty(),
                "{start}"
            );
            assert!(
                check_one("crates/a/tests/b.rs", &format!("\"{start}x\"")).is_empty(),
                "{start}"
            );
        }
    }

    #[test]
    fn registry_hosts_are_found_outside_lock_files() {
        for host in REGISTRY_HOSTS {
            assert!(
                !check_one("README.md", &format!("https://{host}/x")).is_empty(),
                "{host}"
            );
            assert!(
                check_one("Cargo.lock", &format!("https://{host}/x")).is_empty(),
                "{host}"
            );
        }
    }
}
