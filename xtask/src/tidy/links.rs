//! Checks that links between pages have a target, that quoted files exist, and that the table of contents of the book
//! lists every page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::markdown::{anchors, links};
use super::{Finding, Repository};

const SUMMARY: &str = "docs/src/SUMMARY.md";
const BOOK: &str = "docs/src";

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let pages: BTreeMap<&Path, &str> = repository.with_extension("md").collect();
    let texts = repository.texts.iter().map(|(path, _)| path.as_path());
    let known: BTreeSet<&Path> = texts
        .chain(repository.others.iter().map(PathBuf::as_path))
        .collect();
    let mut findings = Vec::new();
    for (path, text) in &pages {
        for link in links(text) {
            if let Some(problem) = broken(path, &link.target, &pages, &known) {
                findings.push(Finding::at(path, link.line, problem));
            }
        }
    }
    for (path, text) in &pages {
        findings.extend(unquotable(path, text, &known));
    }
    findings.extend(unlisted(&pages));
    Ok(findings)
}

/// Missing files that a page quotes with `{{#include FILE}}`: mdbook would show the directive.
fn unquotable(page: &Path, text: &str, known: &BTreeSet<&Path>) -> Vec<Finding> {
    let folder = page.parent().unwrap_or(Path::new(""));
    let lines = text.lines().enumerate();
    let quoted = lines.filter_map(|(index, line)| {
        let (file, _) = line.split_once("{{#include ")?.1.split_once("}}")?;
        Some((index + 1, file.trim()))
    });
    quoted
        .filter(|(_, file)| {
            !normalised(&folder.join(file)).is_some_and(|path| known.contains(path.as_path()))
        })
        .map(|(line, file)| Finding::at(page, line, format!("`{file}`: there is no such file to quote")))
        .collect()
}

fn broken(
    page: &Path,
    target: &str,
    pages: &BTreeMap<&Path, &str>,
    known: &BTreeSet<&Path>,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target
        .split_once('#')
        .map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let folder = page.parent().unwrap_or(Path::new(""));
    let path = if file.is_empty() {
        Some(page.to_path_buf())
    } else {
        normalised(&folder.join(file))
    };
    let Some(path) = path else {
        return Some(format!("`{target}` leads out of the repository"));
    };
    // A folder exists if any file is below it.
    if !known.contains(path.as_path()) && !known.iter().any(|file| file.starts_with(&path)) {
        return Some(format!("`{target}`: there is no `{}`", path.display()));
    }
    if page.starts_with(BOOK) && !path.starts_with(BOOK) {
        return Some(format!(
            "`{target}` leads out of the book: name the file without a link"
        ));
    }
    let anchor = anchor?;
    let text = pages.get(path.as_path())?;
    (!anchors(text).contains(anchor)).then(|| format!("`{target}`: no heading has the anchor `{anchor}`"))
}

/// Pages of the book that `SUMMARY.md` does not list: they would not be rendered.
fn unlisted(pages: &BTreeMap<&Path, &str>) -> Vec<Finding> {
    let Some(summary) = pages.get(Path::new(SUMMARY)) else {
        return vec![Finding::new(
            Path::new(SUMMARY),
            "the table of contents is missing",
        )];
    };
    let listed: BTreeSet<PathBuf> = links(summary)
        .iter()
        .map(|link| Path::new(BOOK).join(&link.target))
        .collect();
    pages
        .keys()
        .filter(|path| path.starts_with(BOOK) && **path != Path::new(SUMMARY) && !listed.contains(**path))
        .map(|path| Finding::new(path, format!("`{SUMMARY}` does not list this page")))
        .collect()
}

/// The path without `.` and `..`; `None` if it leaves the repository.
fn normalised(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                if !parts.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    fn check_readme(text: &str) -> Vec<String> {
        let summary = "- [A](a.md)\n";
        let files = [
            ("README.md", text),
            (SUMMARY, summary),
            ("docs/src/a.md", "# Some Title\n"),
            ("b/c.rs", ""),
        ];
        problems(&check(&repository_of(&files)).unwrap())
    }

    #[test]
    fn good_links_pass() {
        let text = "# Here\n[a](docs/src/a.md#some-title) [b](./b/c.rs) [folder](b) [here](#here) [web](https://x.y)\n";
        assert_eq!(check_readme(text), [""; 0]);
    }

    #[test]
    fn a_quoted_file_is_there() {
        assert_eq!(check_readme("```rust\n{{#include b/c.rs}}\n```\n"), [""; 0]);
        let found = check_readme("```rust\n{{#include b/d.rs}}\n```\n");
        assert!(
            found.len() == 1 && found[0].starts_with("README.md:2"),
            "{found:?}"
        );
    }

    #[test]
    fn a_missing_file_a_missing_anchor_and_a_way_out_are_found() {
        let found = check_readme("[a](docs/src/z.md)\n[b](docs/src/a.md#other)\n[c](../elsewhere)\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("README.md:1") && found[1].contains("#other"),
            "{found:?}"
        );
    }

    #[test]
    fn a_page_that_is_not_listed_is_found() {
        let files = [
            (SUMMARY, "- [A](a.md)\n"),
            ("docs/src/a.md", "# A\n"),
            ("docs/src/b/c.md", "# C\n"),
        ];
        let found = problems(&check(&repository_of(&files)).unwrap());
        assert_eq!(
            found,
            ["docs/src/b/c.md: `docs/src/SUMMARY.md` does not list this page"]
        );
    }

    #[test]
    fn the_book_links_only_to_itself() {
        let files = [
            (SUMMARY, "- [A](a.md)\n"),
            ("docs/src/a.md", "[r](../../README.md)\n"),
            ("README.md", ""),
        ];
        assert!(problems(&check(&repository_of(&files)).unwrap())[0].contains("out of the book"));
    }
}
