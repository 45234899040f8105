//! Counts the places that the compiler does not check for memory safety, by crate, with the reason.
//!
//! The lint `undocumented_unsafe_blocks` enforces that each place explains why it is sound.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use anyhow::Result;

use super::{Finding, Repository};

/// The crates that have such places: their number, and the reason. All other crates have none.
const COUNTED: [(&str, usize, &str); 6] = [
    (
        "cadft-cli",
        14,
        "asks the system which signals are ignored, and before Rust starts whether there is a standard output; ends the \
         process with an error where the system's allocator has no memory, and lets it keep what is freed",
    ),
    (
        "cadft-data",
        4,
        "maps its token cache into memory and lets go of what was read; keeps a template's text beside what is compiled of it; \
         bounds the regular expressions of a tokenizer",
    ),
    (
        "cadft-kernels",
        5,
        "calls the matrix products of `gemm`, which take pointers, and writes them to memory that is not initialised before; \
         fetches weights ahead",
    ),
    (
        "cadft-model",
        3,
        "maps files of weights into memory and lets go of what was read; asks for memory before it is read",
    ),
    (
        "cadft-step",
        11,
        "calls CUDA's driver and NCCL, which take addresses",
    ),
    ("tests", 2, "opens a terminal to run the command on"),
];

/// Split, so that this file does not contain it.
const WORD: &str = concat!("un", "safe");
const AFTER: [&str; 6] = [" {", "(", " fn ", " impl", " extern", " trait"];

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut found: BTreeMap<&str, Vec<(&Path, usize)>> = BTreeMap::new();
    for (path, text) in repository.with_extension("rs") {
        let lines = text.lines().enumerate().filter(|(_, line)| is_place(line));
        let places = lines.map(|(index, _)| (path, index + 1));
        found.entry(owner(path)).or_default().extend(places);
    }
    let findings = found.iter().filter_map(|(name, places)| {
        let counted = COUNTED.iter().find(|(crate_name, ..)| crate_name == name);
        let wanted = counted.map_or(0, |(_, count, _)| *count);
        let (path, line) = *places.last().filter(|_| places.len() != wanted)?;
        let message = format!(
            "`{name}` has {} places of `{WORD}`, and {wanted} are counted with a reason in `xtask/src/tidy/unsafety.rs`",
            places.len()
        );
        Some(Finding::at(path, line, message))
    });
    let gone = COUNTED
        .iter()
        .filter(|(name, ..)| found.get(name).is_some_and(Vec::is_empty));
    let gone = gone.map(|(name, ..)| {
        Finding::new(
            Path::new("xtask/src/tidy/unsafety.rs"),
            format!("`{name}` has no `{WORD}` any more"),
        )
    });
    Ok(findings.chain(gone).collect())
}

/// The crate that a source belongs to.
fn owner(path: &Path) -> &str {
    let mut parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    match (parts.next(), parts.next()) {
        (Some("crates"), Some(name)) => name,
        (Some(folder), _) => folder,
        (None, _) => "",
    }
}

fn is_place(line: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with("//") {
        return false;
    }
    line.match_indices(WORD).any(|(at, _)| {
        let is_alone = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let after = &line[at + WORD.len()..];
        is_alone && (after.is_empty() || AFTER.iter().any(|end| after.starts_with(end)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    fn source(places: usize) -> String {
        format!(
            "//! A.\n{}",
            format!("let a = {WORD} {{ b() }};\n").repeat(places)
        )
    }

    #[test]
    fn a_place_more_or_fewer_than_counted_is_found() {
        for (path, places, findings) in [
            ("crates/cadft-core/src/a.rs", 0, 0),
            ("crates/cadft-core/src/a.rs", 1, 1),
            ("crates/cadft-kernels/src/a.rs", 0, 1),
            ("crates/cadft-kernels/src/a.rs", 5, 0),
            ("crates/cadft-kernels/src/a.rs", 6, 1),
            ("crates/cadft-kernels/tests/a.rs", 2, 1),
            ("xtask/src/a.rs", 1, 1),
        ] {
            let text = source(places);
            let found = problems(&check(&repository_of(&[(path, &text)])).unwrap());
            assert_eq!(found.len(), findings, "{path}, {places}: {found:?}");
        }
    }

    #[test]
    fn only_code_is_counted() {
        for line in [
            format!("// {WORD} {{"),
            format!("#![deny({WORD}_op_in_{WORD}_fn)]"),
            format!("let name = \"{WORD}\";"),
            format!("a.{WORD}ly()"),
        ] {
            assert!(!is_place(&line), "{line}");
        }
        for line in [
            format!("    {WORD} {{"),
            format!("pub {WORD} fn f() {{}}"),
            format!("#[{WORD}(no_mangle)]"),
            format!("{WORD} impl Send for A {{}}"),
        ] {
            assert!(is_place(&line), "{line}");
        }
    }
}
