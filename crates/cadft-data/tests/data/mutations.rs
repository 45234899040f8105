//! Damaged files and templates cause errors, never panics: the fuzz targets of `fuzz/` on mutated examples.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use cadft_data::{ChatTemplate, GenerationPrompt, Message, parse_file};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::fixture::{CHATML, LLAMA3};

/// A change to the bytes of a file.
#[derive(Debug, Clone)]
enum Mutation {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let range = |at: usize, count: usize| at % length..(at % length + count).min(length);
        match self {
            Self::Set(at, byte) => bytes[at % length] = *byte,
            Self::Flip(at, bit) => bytes[at % length] ^= 1 << (bit % 8),
            Self::Insert(at, new) => {
                bytes.splice(at % length..at % length, new.iter().copied());
            }
            Self::Remove(at, count) => {
                bytes.drain(range(*at, *count));
            }
            Self::Repeat(at, count) => {
                let part = bytes[range(*at, *count)].to_vec();
                bytes.splice(at % length..at % length, part);
            }
            Self::Cut(at) => bytes.truncate(at % length),
        }
    }
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let tokens: [&[u8]; 12] = [
        b"\"", b"{", b"}", b"[", b"]", b",", b"\\", b"\n", b"\xFF", b"null", b"{%", b"}}",
    ];
    let inserted = prop_oneof![
        prop::sample::select(tokens.to_vec()).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 1..5),
    ];
    let mutation = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<usize>(), inserted).prop_map(|(at, new)| Mutation::Insert(at, new)),
        (any::<usize>(), 1_usize..20).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (any::<usize>(), 1_usize..20).prop_map(|(at, count)| Mutation::Repeat(at, count)),
        any::<usize>().prop_map(Mutation::Cut),
    ];
    prop::collection::vec(mutation, 1..6)
}

/// The files of `tests/fixtures/data-formats` with these endings.
fn corpus(endings: &[&str]) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data-formats");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            files.push((name, fs::read(&path).unwrap()));
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

fn mutated(files: Vec<(String, Vec<u8>)>) -> impl Strategy<Value = (String, Vec<u8>)> {
    (prop::sample::select(files), mutations()).prop_map(|((name, mut bytes), mutations)| {
        mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
        (name, bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_text_files_do_not_panic((name, bytes) in mutated(corpus(&[".jsonl", ".json", ".csv", ".gz", ".zst"]))) {
        let _ = parse_file(&name, &bytes);
    }

    #[test]
    fn damaged_parquet_does_not_panic((name, bytes) in mutated(corpus(&[".parquet"]))) {
        let _ = parse_file(&name, &bytes);
    }
}

#[test]
fn damaged_templates_do_not_panic() {
    let sources = [CHATML, LLAMA3].map(|source| (String::new(), source.as_bytes().to_vec()));
    let messages = [Message::new("user", "q"), Message::new("assistant", "a")];
    let (compiled, rendered) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(2000));
    let run = runner.run(&mutated(sources.to_vec()), |(_, source)| {
        let source = String::from_utf8_lossy(&source);
        if let Ok(template) = ChatTemplate::new(&source, &[("bos_token", "<s>".to_owned())]) {
            compiled.set(compiled.get() + 1);
            let text = template.render(&messages, &[], GenerationPrompt::Add);
            rendered.set(rendered.get() + usize::from(text.is_ok()));
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    // Guards against a trivial test: enough templates must be compiled and rendered.
    assert!(
        compiled.get() > 200 && rendered.get() > 100,
        "{compiled:?} {rendered:?}"
    );
}
