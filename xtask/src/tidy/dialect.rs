//! Plain English: finds words that confuse readers, and suggests usual ones.

use std::path::Path;

use anyhow::Result;

use super::{Finding, Repository};

/// A word or phrase, and usual alternatives. Split, so that this file does not contain them.
const WORDS: [(&str, &str); 14] = [
    (concat!("to", "ld"), "report, warn, distinguish"),
    (concat!("tel", "ls"), "report, say, show"),
    (concat!("so ", "many"), "the name of the number"),
    (concat!("who", "ever"), "name the program or the person"),
    (concat!("no", "body"), "the passive voice"),
    (concat!("goes ", "on"), "continue, resume"),
    (concat!("going ", "on"), "under way"),
    (concat!("in the ", "making"), "being made, generated"),
    (
        concat!("the other way ", "round"),
        "transposed, reversed, conversely",
    ),
    (concat!("becomes ", "of"), "what happens to"),
    (concat!("became ", "of"), "what happened to"),
    (concat!("comes ", "of"), "comes from, the result of"),
    (concat!("for want ", "of"), "without"),
    (concat!("none ", "where"), "`None` if, absent if"),
];

/// Files that are not checked yet.
const LATER: [&str; 3] = ["README.md", "CHANGELOG.md", "docs/src/decisions.md"];

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in &repository.texts {
        if is_checked(path) {
            findings.extend(check_text(path, text));
        }
    }
    Ok(findings)
}

fn is_checked(path: &Path) -> bool {
    let is_later = LATER.iter().any(|later| path == Path::new(later));
    !is_later && !path.starts_with("tests/fixtures")
}

/// Checks the comments of Rust files, and pages without their code blocks.
fn check_text(path: &Path, text: &str) -> Vec<Finding> {
    let is_page = match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => true,
        Some("rs") => false,
        _ => return vec![],
    };
    let mut is_code = false;
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if is_page && line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let prose = match line.find("//") {
            _ if is_code => continue,
            _ if is_page => line,
            Some(start) => &line[start..],
            None => continue,
        };
        let prose = without_quotes(prose).to_lowercase();
        findings.extend(
            WORDS
                .iter()
                .filter(|(word, _)| holds(&prose, word))
                .map(|(word, usual)| Finding::at(path, index + 1, format!("`{word}`: plainer is {usual}"))),
        );
    }
    findings
}

/// A line without the parts in backticks.
fn without_quotes(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Whether a text contains a word, not as a part of another word.
fn holds(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(before) && !is_part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    fn found(path: &str, text: &str) -> Vec<String> {
        problems(&check(&repository_of(&[(path, text)])).unwrap())
    }

    #[test]
    fn every_word_is_found_in_comments_and_pages_with_its_line() {
        for (word, usual) in WORDS {
            for (path, text) in [
                (
                    "xtask/src/a.rs",
                    format!("//! A file.\nlet a = 1; // It is {word}.\n"),
                ),
                ("docs/src/a.md", format!("# A\n{word} it\n")),
            ] {
                let problems = found(path, &text);
                assert_eq!(problems.len(), 1, "{word} in {path}: {problems:?}");
                assert!(problems[0].starts_with(&format!("{path}:2: ")), "{problems:?}");
                assert!(problems[0].contains(usual), "{problems:?}");
            }
        }
    }

    #[test]
    fn code_quotes_and_parts_of_words_are_left_alone() {
        for (word, _) in WORDS {
            for (path, text) in [
                ("xtask/src/a.rs", format!("let a = \"{word}\";\n")),
                (
                    "xtask/src/a.rs",
                    format!("// The variable `{word}` and un{word}\n"),
                ),
                ("docs/src/a.md", format!("```text\n{word}\n```\n")),
                ("docs/src/decisions.md", format!("{word}\n")),
            ] {
                assert!(found(path, &text).is_empty(), "{word} in {path}");
            }
        }
    }
}
