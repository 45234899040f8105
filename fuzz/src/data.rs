//! Files of data, cards, chat templates and conversations.

#[path = "../../crates/cadft-data/tests/data/mixed.rs"]
mod mixed;

use cadft_data::{ChatTemplate, DataError, GenerationPrompt, Message, Source, parse_file};
use std::fs;

/// Longest error message about a file, in bytes, whatever the file holds.
const LONGEST_MESSAGE: usize = 32 << 10;

/// Reading gives rows, or short error messages; reading again gives the same.
fn rows(name: &str, bytes: &[u8]) {
    match (parse_file(name, bytes), parse_file(name, bytes)) {
        (Ok(once), Ok(again)) => assert_eq!(format!("{once:?}"), format!("{again:?}")),
        (Err(once), Err(again)) => {
            let message = once.to_string();
            assert_eq!(message, again.to_string());
            assert!(message.len() <= LONGEST_MESSAGE, "{} bytes", message.len());
            if let DataError::Invalid { problems, .. } = once {
                assert!(!problems.is_empty() && problems.len() <= 1000);
            }
        }
        _ => panic!("`{name}` is read once and refused once"),
    }
}

/// Any bytes as text data, compressed or not.
pub(super) fn jsonl(bytes: &[u8]) {
    for name in ["d.jsonl", "d.json", "d.csv", "d.jsonl.gz", "d.jsonl.zst"] {
        rows(name, bytes);
    }
}

/// Any bytes as Parquet.
pub(super) fn parquet(bytes: &[u8]) {
    rows("d.parquet", bytes);
}

/// Any bytes as the card of a data set: all files that are read are inside the data set.
pub(super) fn card(bytes: &[u8]) {
    let parent = tempfile::tempdir().expect("a directory");
    let root = parent.path().join("set");
    for name in ["set/data", "set/b", "other"] {
        fs::create_dir_all(parent.path().join(name)).expect("a directory");
    }
    let row = "{\"text\": \"a\"}\n";
    for name in [
        "train.jsonl",
        "test.jsonl",
        "data/train-0.jsonl",
        "b/c.csv",
        "../other/x.jsonl",
        "../x.jsonl",
    ] {
        fs::write(root.join(name), row).expect("it is written");
    }
    for card in ["README.md", ".huggingface.yaml"] {
        fs::write(root.join(card), bytes).expect("it is written");
        for (config, split) in [(None, None), (Some("a"), None), (None, Some("test"))] {
            let source = Source {
                config: config.map(str::to_owned),
                split: split.map(str::to_owned),
                ..Source::new(root.to_string_lossy())
            };
            for file in source.files().into_iter().flatten() {
                let real = file.canonicalize().expect("a file that is there");
                let root = root.canonicalize().expect("a directory");
                assert!(real.starts_with(root), "{}", file.display());
            }
        }
        fs::remove_file(root.join(card)).expect("it is removed");
    }
}

/// Any text as a chat template: the result is a text of limited length, the same every time, or an error.
pub(super) fn template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(template) = ChatTemplate::new(source, &[("bos_token", "<s>".to_owned())]) else {
        return;
    };
    let messages = [Message::new("user", "q"), Message::new("assistant", "a")];
    for prompt in [GenerationPrompt::Add, GenerationPrompt::Omit] {
        let render = || template.render(&messages, &[], prompt);
        match (render(), render()) {
            (Ok(once), Ok(again)) => {
                assert_eq!(once, again);
                assert!(once.len() <= 64 << 20, "{} bytes", once.len());
            }
            (Err(_), Err(_)) => {}
            _ => panic!("the template renders once and fails once"),
        }
    }
}

/// Any conversation under any of many templates: the trained tokens end with a stop token, and up to it they hold text
/// of one trained turn and of no other message; or the row is refused.
pub(super) fn conversation(bytes: &[u8]) {
    mixed::assert_sound_or_refused(bytes);
}
