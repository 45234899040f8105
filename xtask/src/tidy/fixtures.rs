//! Checks the golden files against their manifest: none may be missing, changed or unlisted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use toml::{Table, Value};

use super::{Finding, Repository};
use crate::files;

const FOLDER: &str = "tests/fixtures";
const MANIFEST: &str = "tests/fixtures/MANIFEST.toml";

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    check_folder(&repository.root)
}

fn check_folder(root: &Path) -> Result<Vec<Finding>> {
    let manifest = Path::new(MANIFEST);
    let present = files_under(root, Path::new(FOLDER))?;
    let Ok(text) = std::fs::read_to_string(root.join(manifest)) else {
        let problem =
            (!present.is_empty()).then(|| Finding::new(manifest, "the manifest of the fixtures is missing"));
        return Ok(problem.into_iter().collect());
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            return Ok(vec![Finding::new(
                manifest,
                format!("does not parse: {}", error.message()),
            )]);
        }
    };
    let mut findings = Vec::new();
    let mut listed = BTreeSet::from([manifest.to_path_buf()]);
    for (index, entry) in table
        .get("file")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = |name: &str| entry.get(name).and_then(Value::as_str);
        let (Some(path), Some(wanted)) = (field("path"), field("sha256")) else {
            findings.push(Finding::new(
                manifest,
                format!("entry {} has no `path` or no `sha256`", index + 1),
            ));
            continue;
        };
        let path = Path::new(FOLDER).join(path);
        if !present.contains(&path) {
            findings.push(Finding::new(&path, format!("listed in `{MANIFEST}` but missing")));
        } else if files::sha256(&root.join(&path))? != wanted {
            findings.push(Finding::new(
                &path,
                format!("is not the file listed in `{MANIFEST}`: `cargo xtask fixtures`"),
            ));
        }
        listed.insert(path);
    }
    findings.extend(
        present
            .difference(&listed)
            .map(|path| Finding::new(path, format!("not listed in `{MANIFEST}`"))),
    );
    Ok(findings)
}

/// Every file below `folder`, relative to `root`; empty if the folder does not exist.
fn files_under(root: &Path, folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !root.join(&folder).is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::problems;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn check_with(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(FOLDER).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        problems(&check_folder(dir.path()).unwrap())
    }

    fn manifest(path: &str) -> String {
        format!("[versions]\ntorch = \"2\"\n[[file]]\npath = \"{path}\"\nsha256 = \"{ABC}\"\n")
    }

    #[test]
    fn listed_and_unchanged_files_pass() {
        assert!(check_with(&[("MANIFEST.toml", &manifest("a/b.json")), ("a/b.json", "abc")]).is_empty());
        assert!(check_with(&[]).is_empty());
    }

    #[test]
    fn changed_missing_and_unlisted_files_are_found() {
        let changed = check_with(&[("MANIFEST.toml", &manifest("a/b.json")), ("a/b.json", "abcd")]);
        assert!(changed[0].contains("is not the file listed"), "{changed:?}");
        let missing = check_with(&[("MANIFEST.toml", &manifest("a/b.json"))]);
        assert!(missing[0].contains("but missing"), "{missing:?}");
        let extra = check_with(&[("MANIFEST.toml", &manifest("b")), ("b", "abc"), ("c/d", "")]);
        assert!(
            extra.len() == 1 && extra[0].starts_with("tests/fixtures/c/d: not listed"),
            "{extra:?}"
        );
    }

    #[test]
    fn files_without_a_manifest_are_found() {
        assert_eq!(check_with(&[("b", "abc")]).len(), 1);
    }
}
