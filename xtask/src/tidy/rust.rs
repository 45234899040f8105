//! Rules for Rust sources: a `//!` first line, a size limit, no unfinished places, no `mod.rs`.

use std::path::Path;

use anyhow::Result;

use super::{Finding, Repository};

/// Limit for the lines of a file, without its tests.
const MAX_LINES: usize = 400;
/// Limit for the lines of a file of tests.
const MAX_TEST_LINES: usize = 500;
/// The training step, which is one page.
const STEP: (&str, usize) = ("crates/cadft-step/src/step.rs", 200);

/// Text that no source may contain, and why. Split, so that this file does not contain it either.
const FORBIDDEN: [(&str, &str); 7] = [
    (
        concat!("#[", "ignore"),
        "an ignored test: make it pass, or remove it",
    ),
    (concat!("to", "do!("), "an unfinished place"),
    (concat!("unimple", "mented!("), "an unfinished place"),
    (concat!("db", "g!("), "a debugging aid"),
    (
        concat!("FIX", "ME"),
        "an unfinished place: mend it, or file an issue",
    ),
    (
        concat!("XX", "X"),
        "an unfinished place: mend it, or file an issue",
    ),
    (
        concat!(".dims()", "["),
        "name the dimensions: `let [batch, seq] = x.dims();`",
    ),
];

/// Functions that only the crate for writing files may call: it writes complete files, and never through a link.
const WRITERS: [&str; 6] = [
    "fs::write(",
    "fs::copy(",
    "File::create",
    "File::options",
    "OpenOptions",
    "NamedTempFile",
];
/// The crates that write: the crate for files, and downloads, which continue a partial file in a cache shared with
/// other programs.
const WRITE: [&str; 2] = ["crates/cadft-files", "crates/cadft-hub"];

/// The crates that ranks talk by, and the one file of the program that may name each: another engine is another file.
const ENGINES: [(&str, &str); 2] = [
    ("mpi::", "crates/cadft-step/src/ranks/mpi.rs"),
    ("cudarc::", "crates/cadft-step/src/ranks/nccl.rs"),
];

/// Macros that no crate may use: they print hidden characters unescaped, and panic if standard output is closed.
const PRINTERS: [&str; 4] = ["print!(", "println!(", "eprint!(", "eprintln!("];

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(repository
        .with_extension("rs")
        .flat_map(|(path, text)| check_file(path, text))
        .collect())
}

fn check_file(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(Finding::at(
            path,
            1,
            "the file does not open with a `//!` line saying what it is for",
        ));
    }
    if path.file_name().is_some_and(|name| name == "mod.rs") {
        findings.push(Finding::new(path, "a `mod.rs`: use `foo.rs` beside `foo/`"));
    }
    let lines = lines_without_tests(text);
    let is_test = path.components().any(|part| part.as_os_str() == "tests");
    let most = match STEP {
        (step, most) if path == Path::new(step) => most,
        _ if is_test => MAX_TEST_LINES,
        _ => MAX_LINES,
    };
    if !path.starts_with("xtask/stubs") && lines > most {
        findings.push(Finding::new(
            path,
            format!("{lines} lines without tests, more than {most}: split it"),
        ));
    }
    for (index, line) in text.lines().enumerate() {
        for (word, reason) in FORBIDDEN {
            if line.contains(word) {
                findings.push(Finding::at(path, index + 1, format!("`{word}`: {reason}")));
            }
        }
    }
    if path.starts_with("crates") && path.components().any(|part| part.as_os_str() == "src") {
        findings.extend(check_program(path, text, lines));
    }
    findings
}

/// Checks that files are written and text is printed in one place each.
fn check_program(path: &Path, text: &str, lines: usize) -> Vec<Finding> {
    if path.file_name().is_some_and(|name| name == "tests.rs") {
        return vec![];
    }
    let code = text.lines().take(lines).enumerate();
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut findings = Vec::new();
    for (index, line) in code {
        let has = |word: &&&str| holds(line, word);
        let writes = WRITE.iter().any(|writer| path.starts_with(writer));
        if let Some(word) = WRITERS.iter().find(has).filter(|_| !writes) {
            let message = format!("`{word}`: write with `cadft-files`");
            findings.push(Finding::at(path, index + 1, message));
        }
        let engine = |(word, file): &&(&str, &str)| begins(line, word) && path != Path::new(file);
        if let Some((word, file)) = ENGINES.iter().find(engine) {
            findings.push(Finding::at(
                path,
                index + 1,
                format!("`{word}`: only `{file}` names it"),
            ));
        }
        if let Some(word) = PRINTERS.iter().find(has) {
            let message = format!("`{word}`: show it with `output` or `console` of `cadft-cli`");
            findings.push(Finding::at(path, index + 1, message));
        }
    }
    findings
}

/// Whether a line contains `word`, and not only as the end of a longer name such as `NewFile`.
fn holds(line: &str, word: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    (line.match_indices(word)).any(|(at, _)| !line[..at].ends_with(is_name))
}

/// Whether a line holds a path that begins with `word`; a module of the same name comes after another one.
fn begins(line: &str, word: &str) -> bool {
    let is_path = |character: char| character.is_alphanumeric() || "_:".contains(character);
    (line.match_indices(word)).any(|(at, _)| !line[..at].ends_with(is_path))
}

/// The number of lines before the test module, which by convention is the last item in a file.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    fn check_one(path: &str, text: &str) -> Vec<String> {
        problems(&check(&repository_of(&[(path, text)])).unwrap())
    }

    #[test]
    fn a_clean_file_passes() {
        assert!(check_one("crates/a/src/lib.rs", "//! A crate.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn a_file_must_say_what_it_is_for() {
        assert!(check_one("a/src/b.rs", "fn f() {}\n")[0].contains("does not open with"));
    }

    #[test]
    fn long_files_are_found_but_not_for_the_tests_at_their_end() {
        let of_tests = "fn f() {}\n".repeat(MAX_TEST_LINES);
        assert!(check_one("a/tests/b.rs", &format!("//! B.\n{of_tests}"))[0].contains("501 lines"));
        let body = "fn f() {}\n".repeat(MAX_LINES);
        assert!(check_one("a/src/b.rs", &format!("//! B.\n{body}"))[0].contains("401 lines"));
        let page = "fn f() {}\n".repeat(STEP.1);
        assert!(check_one(STEP.0, &format!("//! B.\n{page}"))[0].contains("201 lines"));
        assert!(check_one("a/tests/b.rs", &format!("//! B.\n{body}")).is_empty());
        assert!(check_one("xtask/stubs/b.rs", &format!("//! B.\n{body}")).is_empty());
        assert!(
            check_one(
                "a/src/b.rs",
                &format!("//! B.\n#[cfg(test)]\nmod tests {{\n{body}}}\n")
            )
            .is_empty()
        );
    }

    #[test]
    fn every_forbidden_word_is_found_on_its_line() {
        for (word, _) in FORBIDDEN {
            let found = check_one("a/tests/b.rs", &format!("//! B.\n\n{word}"));
            assert!(
                found.len() == 1 && found[0].starts_with("a/tests/b.rs:3: "),
                "{word}: {found:?}"
            );
        }
    }

    #[test]
    fn files_are_written_and_text_is_printed_in_one_place() {
        for word in WRITERS.iter().chain(&PRINTERS) {
            let text = format!("//! B.\nfn f() {{ {word} }}\n");
            let found = check_one("crates/a/src/b.rs", &text);
            assert!(
                found.len() == 1 && found[0].starts_with("crates/a/src/b.rs:2: "),
                "{word}: {found:?}"
            );
            for elsewhere in ["crates/a/src/b/tests.rs", "crates/a/tests/b.rs", "xtask/src/b.rs"] {
                assert!(check_one(elsewhere, &text).is_empty(), "{elsewhere}: {word}");
            }
            let in_tests = format!("//! B.\n// {word}\n#[cfg(test)]\nmod tests {{\n    {word}\n}}\n");
            assert!(check_one("crates/a/src/b.rs", &in_tests).is_empty(), "{word}");
        }
        assert!(check_one("crates/a/src/b.rs", "//! B.\nfn f() { NewFile::create(x) }\n").is_empty());
        let writer = "//! B.\nfn f() { fs::write() }\n";
        assert!(check_one("crates/cadft-files/src/b.rs", writer).is_empty());
    }

    #[test]
    fn what_ranks_talk_by_is_named_in_one_file_each() {
        for (word, file) in ENGINES {
            let text = format!("//! B.\nuse {word}a::B;\n");
            assert!(check_one(file, &text).is_empty(), "{file}");
            let found = check_one("crates/a/src/b.rs", &text);
            assert!(found.len() == 1 && found[0].contains("b.rs:2: "), "{found:?}");
            let module = format!("//! B.\nfn f() {{ super::{word}f() }}\n");
            assert!(check_one("crates/a/src/b.rs", &module).is_empty(), "{word}");
        }
    }

    #[test]
    fn modules_are_not_called_mod() {
        assert!(check_one("a/src/b/mod.rs", "//! B.\n")[0].contains("mod.rs"));
    }
}
