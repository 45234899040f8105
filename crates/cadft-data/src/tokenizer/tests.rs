//! Compares the fast path with `tokenizers` itself.

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{Tokenizer, TokenizerFiles};

/// The pattern of Llama 3 and Qwen 2.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn tokenizer(pre_tokenizer: &Value, normalizer: &Value) -> Tokenizer {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let merges = [
        ("h", "e"),
        ("l", "l"),
        ("he", "ll"),
        ("Ġ", "a"),
        ("Ã", "©"),
        ("1", "2"),
        ("Ċ", "Ċ"),
        ("Ġ", "Ġ"),
    ];
    let pieces = bytes
        .iter()
        .map(char::to_string)
        .chain(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let vocab: serde_json::Map<_, _> = pieces.enumerate().map(|(id, piece)| (piece, json!(id))).collect();
    let first = vocab.len();
    let tokens = [
        ("<s>", false),
        ("<|im_end|>", false),
        ("<|im_end|>!", false),
        ("tool", true),
        ("\n\n\n", true),
    ];
    let added: Vec<Value> = (tokens.iter().enumerate())
        .map(|(index, (token, normalized))| {
            json!({"id": first + index, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": normalized, "special": !normalized})
        })
        .collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": normalizer, "added_tokens": added,
        "pre_tokenizer": pre_tokenizer, "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": merges},
    });
    Tokenizer::from_bytes(&TokenizerFiles {
        tokenizer: json.to_string().into_bytes(),
        ..TokenizerFiles::default()
    })
    .unwrap()
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

/// Tokenizers with the pre-tokenizers of GPT-2, SmolLM2 and Llama 3, one with runs of digits, that of Qwen with its
/// normaliser, and one with two patterns.
fn tokenizers() -> Vec<Tokenizer> {
    let digits = |each: bool| json!({"type": "Digits", "individual_digits": each});
    let split =
        json!({"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false});
    let sequence = |first: &Value, last: Value| json!({"type": "Sequence", "pretokenizers": [first, last]});
    let all = [
        (byte_level(true), Value::Null),
        (sequence(&digits(true), byte_level(true)), Value::Null),
        (sequence(&digits(false), byte_level(true)), Value::Null),
        (sequence(&split, byte_level(false)), Value::Null),
        (sequence(&split, byte_level(false)), json!({"type": "NFC"})),
        // One pattern splits the words of another.
        (sequence(&split, byte_level(true)), Value::Null),
    ];
    all.iter()
        .map(|(pre_tokenizer, normalizer)| tokenizer(pre_tokenizer, normalizer))
        .collect()
}

#[test]
fn pipelines_with_anything_else_in_them_go_the_slow_way() {
    assert!(tokenizers().iter().all(|tokenizer| tokenizer.fast.is_some()));
    let space =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    for (pre_tokenizer, normalizer) in [
        (space, Value::Null),
        (json!({"type": "Whitespace"}), Value::Null),
        (byte_level(true), json!({"type": "Lowercase"})),
        (Value::Null, Value::Null),
    ] {
        assert!(
            tokenizer(&pre_tokenizer, &normalizer).fast.is_none(),
            "{pre_tokenizer} {normalizer}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_fast_way_gives_the_ids_and_offsets_of_tokenizers(
        parts in prop::collection::vec(prop_oneof![
            "[a-zA-Z0-9 .,'\n\t-]{0,12}",
            "\\PC{0,6}",
            Just("hello a hell".to_owned()),
            Just("<|im_end|>!".to_owned()),
            Just("<|im_end|>\n\n\n<s>tool".to_owned()),
            Just("I've 1234 ½²  \u{a0}\r\n\r\n é e\u{301} 猫 🙂👩‍👧 \u{3000}don'T ".to_owned()),
        ], 0..6),
    ) {
        let text = parts.concat();
        for (index, tokenizer) in tokenizers().iter().enumerate() {
            let found = tokenizer.fast.as_ref().and_then(|fast| fast.encode(&tokenizer.inner, &text));
            let expected = tokenizer.encode_slowly(&text).unwrap();
            match found {
                Some(found) => prop_assert_eq!(found, expected, "pipeline {}: {:?}", index, text),
                None => prop_assert!(index == 4, "pipeline {index} leaves {text:?} to the slow way"),
            }
        }
    }
}
