//! The files of a tokenizer.

use cadft_data::{
    Mask, Row, SpecialTokens, TokenizeOptions, Tokenizer, TokenizerFiles, parse_file, tokenize,
};
use std::fs;

/// Separator of the files in one input.
const BETWEEN: u8 = 0;

/// The names of the files, in order.
const NAMES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Replaces an empty `tokenizer.json`, so that the other files are read too.
const PLAIN: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null,
    "added_tokens": [{"id": 5, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "model": {"type": "BPE", "dropout": null, "unk_token": "u", "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
              "vocab": {"u": 0, "a": 1, "b": 2, "ab": 3, " ": 4}, "merges": ["a b"]}}"#;

/// Any bytes as the files of a directory, separated by zeros: the result is a tokenizer that gives the same tokens
/// every time, or an error.
pub(super) fn files(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, part) in NAMES.iter().zip(bytes.split(|&byte| byte == BETWEEN)) {
        let part = if part.is_empty() && *name == NAMES[0] {
            PLAIN.as_bytes()
        } else {
            part
        };
        if !part.is_empty() {
            fs::write(directory.path().join(name), part).expect("it is written");
        }
    }
    let Ok(files) = TokenizerFiles::from_dir(directory.path()) else {
        return;
    };
    match (Tokenizer::from_bytes(&files), Tokenizer::from_bytes(&files)) {
        (Ok(once), Ok(again)) => says_the_same(&once, &again),
        (Err(once), Err(again)) => assert_eq!(once.to_string(), again.to_string()),
        _ => panic!("it is read once and refused once"),
    }
}

fn says_the_same(once: &Tokenizer, again: &Tokenizer) {
    for text in ["ab a</s> b", "\u{E9}\u{1F600} 12  \n", ""] {
        let ids = once.encode_with_special(text).ok();
        assert_eq!(ids, again.encode_with_special(text).ok());
        let Some(ids) = ids else { continue };
        // Normalisation makes a text at most 256 times as long, and a byte becomes at most a few tokens.
        assert!(ids.len() <= 4096 * (text.len() + 1), "{} ids", ids.len());
        let kept = |tokenizer: &Tokenizer| tokenizer.decode(&ids, SpecialTokens::Keep).ok();
        assert_eq!(kept(once), kept(again));
    }
    let rows: Vec<Row> = parse_file("d.jsonl", ROWS.as_bytes()).expect("rows");
    for row in rows {
        let Ok(data) = tokenize(&[row], once, &TokenizeOptions::new(64, Mask::Assistant)) else {
            continue;
        };
        for example in data.examples {
            assert_eq!(example.loss_mask.len(), example.token_ids.len());
            assert_eq!(example.loss_mask.first(), Some(&false));
            assert!(example.prompt_len <= example.token_ids.len() && example.supervised() > 0);
        }
    }
}

/// A conversation, and a text.
const ROWS: &str = r#"{"messages": [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "ab"}]}
{"text": "ab a"}
"#;
