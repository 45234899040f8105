//! Checks that every equation id in the code is defined on the method page.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::{Finding, Repository};

const METHOD: &str = "docs/src/concepts/method.md";

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let Some(method) = repository.text(METHOD) else {
        return Ok(vec![Finding::new(
            Path::new(METHOD),
            "the page that defines the equations is missing",
        )]);
    };
    let defined: BTreeSet<&str> = method.lines().flat_map(in_parentheses).collect();
    let families: BTreeSet<&str> = defined.iter().map(|id| family(id)).collect();
    let mut findings = Vec::new();
    for (path, text) in repository
        .with_extension("rs")
        .chain(repository.with_extension("md"))
    {
        for (index, line) in text.lines().enumerate() {
            let named = ids(line).filter(|id| families.contains(family(id)));
            let cited =
                in_parentheses(line).filter(|_| path.extension().is_some_and(|extension| extension == "rs"));
            let unknown: BTreeSet<&str> = named.chain(cited).filter(|id| !defined.contains(id)).collect();
            findings.extend(
                unknown
                    .into_iter()
                    .filter(|_| !path.starts_with("xtask"))
                    .map(|id| {
                        Finding::at(
                            path,
                            index + 1,
                            format!("equation `{id}` is not defined in `{METHOD}`"),
                        )
                    }),
            );
        }
    }
    Ok(findings)
}

fn family(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

/// Ids in the form `(OBJ-1)`, which marks definitions, and citations in doc comments.
fn in_parentheses(line: &str) -> impl Iterator<Item = &str> {
    line.split('(')
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(inside, _)| inside)
        .filter(|id| is_id(id))
}

/// Words of the line that look like an id.
fn ids(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| is_id(word))
}

fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(family, number)| {
        (2..=8).contains(&family.len())
            && family.bytes().all(|byte| byte.is_ascii_uppercase())
            && (1..=2).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    fn check_code(code: &str) -> Vec<String> {
        let method = "    (OBJ-1)  loss = x\n    (CADFT-2)  z = y\n";
        problems(&check(&repository_of(&[(METHOD, method), ("crates/a/src/b.rs", code)])).unwrap())
    }

    #[test]
    fn defined_ids_may_be_named() {
        assert!(check_code("//! (OBJ-1), and CADFT-2 in passing.\n").is_empty());
    }

    #[test]
    fn an_id_of_a_known_family_must_be_defined() {
        let found = check_code("//! As OBJ-1.\n// By CADFT-7.\n");
        assert_eq!(
            found,
            ["crates/a/src/b.rs:2: equation `CADFT-7` is not defined in `docs/src/concepts/method.md`"]
        );
    }

    #[test]
    fn a_cited_id_of_an_unknown_family_is_found() {
        assert_eq!(check_code("//! The gate (GATE-1).\n").len(), 1);
    }

    #[test]
    fn names_of_standards_are_not_equations() {
        assert!(check_code("//! UTF-8, SHA-256, (UTF-8 text) and GPT-2.\n").is_empty());
    }

    #[test]
    fn the_page_must_exist() {
        assert_eq!(check(&repository_of(&[])).unwrap().len(), 1);
    }
}
