//! `cargo xtask tidy`: the rules of the repository that no compiler checks. Reports all findings together.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{files, shell};

mod circles;
mod dialect;
mod equations;
mod fixtures;
mod links;
mod manifests;
mod markdown;
mod publish;
mod rust;
mod supply;
mod tree;
mod unsafety;
mod words;

/// One broken rule, with its place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: PathBuf,
    line: Option<usize>,
    problem: String,
}

impl Finding {
    fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            line: None,
            problem: problem.into(),
        }
    }

    fn at(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::new(path, problem)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// The text files of the repository by path, and its root directory.
struct Repository {
    root: PathBuf,
    texts: Vec<(PathBuf, String)>,
    /// Files without text, such as pictures.
    others: Vec<PathBuf>,
}

impl Repository {
    fn open(root: &Path) -> Result<Self> {
        let (mut texts, mut others) = (Vec::new(), Vec::new());
        for path in files::repository(root)? {
            let bytes = std::fs::read(root.join(&path))
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            // Files that are not UTF-8 are data, covered by the manifest of the fixtures.
            match String::from_utf8(bytes) {
                Ok(text) => texts.push((path, text)),
                Err(_) => others.push(path),
            }
        }
        Ok(Self {
            root: root.to_path_buf(),
            texts,
            others,
        })
    }

    fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = (&'a Path, &'a str)> {
        self.texts
            .iter()
            .filter(move |(path, _)| path.extension().is_some_and(|found| found == extension))
            .map(|(path, text)| (path.as_path(), text.as_str()))
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts
            .iter()
            .find(|(found, _)| found == Path::new(path))
            .map(|(_, text)| text.as_str())
    }
}

/// Checks every rule. Fails if there are findings.
pub(crate) fn run() -> Result<()> {
    let repository = Repository::open(&shell::workspace_root())?;
    let mut findings = Vec::new();
    for check in [
        rust::check,
        supply::check,
        words::check,
        dialect::check,
        manifests::check,
        publish::check,
        fixtures::check,
        equations::check,
        links::check,
        unsafety::check,
        circles::check,
        tree::check,
    ] {
        findings.extend(check(&repository)?);
    }
    findings.sort();
    findings.dedup();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        eprintln!("tidy: {} files, nothing to report", repository.texts.len());
        return Ok(());
    }
    bail!("tidy: {} findings", findings.len())
}

#[cfg(test)]
fn repository_of(texts: &[(&str, &str)]) -> Repository {
    let texts = texts
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
        .collect();
    Repository {
        root: PathBuf::from("does-not-exist"),
        texts,
        others: vec![],
    }
}

#[cfg(test)]
fn problems(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}
