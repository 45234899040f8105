//! The treatment of each key of `tokenizer_config.json`.

use serde_json::{Map, Value};

use super::config::{TOKENIZER_CONFIG, invalid, key};
use crate::error::DataError;

/// Keys that are read elsewhere, in addition to every key that ends with `_token` and holds a token.
const READ: [&str; 12] = [
    "added_tokens_decoder",
    "additional_special_tokens",
    "bos_token",
    "chat_template",
    "cls_token",
    "eos_token",
    "extra_special_tokens",
    "mask_token",
    "model_specific_special_tokens",
    "pad_token",
    "sep_token",
    "unk_token",
];

/// Keys with an unsupported effect on ids, each with the values that have no effect.
const REFUSED: [(&str, &[Value]); 7] = [
    ("fast_tokenizer_files", &[Value::Null]),
    ("fix_mistral_regex", &[Value::Null, Value::Bool(false)]),
    ("gguf_file", &[Value::Null]),
    ("post_processor", &[Value::Null]),
    ("split_special_tokens", &[Value::Null, Value::Bool(false)]),
    ("tokenizer_object", &[Value::Null]),
    ("vocab", &[Value::Null]),
];

/// Keys without effect on ids and texts here, each with the reason.
const WITHOUT_EFFECT: [(&str, &str); 85] = [
    ("_commit_hash", "it says where the tokenizer came from"),
    ("_from_auto", "it says how the tokenizer was made"),
    ("_name_or_path", "it says where the tokenizer came from"),
    (
        "add_bos_token",
        "the post-processor of `tokenizer.json` decides, as in transformers 5",
    ),
    (
        "add_eos_token",
        "the post-processor of `tokenizer.json` decides, as in transformers 5",
    ),
    (
        "add_prefix_space",
        "the pre-tokenizer of `tokenizer.json` says it",
    ),
    ("auto_map", "no code of a model is run"),
    ("backend", "there is one way to read a tokenizer"),
    ("bos_token_id", "`bos_token` says it"),
    ("cache_dir", "it says where the tokenizer came from"),
    (
        "chat_control_tokens",
        "it is for escaping what users write, which training does not do",
    ),
    (
        "clean_up_tokenization_spaces",
        "it changes how ids are shown, not what they are",
    ),
    (
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
        "it changes how ids are shown",
    ),
    ("decode_with_prefix_space", "it changes how ids are shown"),
    ("device_map", "a tokenizer is on no device"),
    (
        "do_basic_tokenize",
        "the pre-tokenizer of `tokenizer.json` says it",
    ),
    ("do_lower_case", "the normalizer of `tokenizer.json` says it"),
    ("do_lowercase", "the normalizer of `tokenizer.json` says it"),
    ("do_normalize", "the normalizer of `tokenizer.json` says it"),
    (
        "do_split_on_punc",
        "the pre-tokenizer of `tokenizer.json` says it",
    ),
    (
        "eos_token_id",
        "`eos_token` says it, and `eos_token_id` of the model's files",
    ),
    ("errors", "it is for decoding bytes that are no UTF-8"),
    ("extra_ids", "the vocabulary of `tokenizer.json` has them"),
    ("fast", "`tokenizer.json` is read"),
    ("files_loaded", "it says where the tokenizer came from"),
    ("from_slow", "`tokenizer.json` is read, not what it was made from"),
    ("image_size", "it is for images"),
    ("image_token_id", "`image_token` says it"),
    ("init_inputs", "they are arguments of Python classes"),
    ("is_local", "it says where the tokenizer came from"),
    ("keep_accents", "the normalizer of `tokenizer.json` says it"),
    (
        "language",
        "the language of a translation is written by the template",
    ),
    ("legacy", "`tokenizer.json` is what it was made to be"),
    ("local_files_only", "it says where the tokenizer came from"),
    ("mask_token_id", "`mask_token` says it"),
    ("max_len", "`data.max-length` of the recipe decides"),
    ("max_length", "`data.max-length` of the recipe decides"),
    ("max_pixels", "it is for images"),
    ("merges_file", "`tokenizer.json` has the merges"),
    ("min_pixels", "it is for images"),
    ("model_input_names", "it names tensors of Python's models"),
    ("model_max_length", "`data.max-length` of the recipe decides"),
    ("model_type", "`config.json` says it"),
    ("name_or_path", "it says where the tokenizer came from"),
    (
        "never_split",
        "the added tokens of `tokenizer.json` are never split",
    ),
    (
        "pad_to_multiple_of",
        "batches are padded by length, not by the tokenizer",
    ),
    ("pad_token_id", "`pad_token` says it"),
    ("pad_token_type_id", "there are no types of tokens"),
    ("padding", "batches are padded by length, not by the tokenizer"),
    (
        "padding_side",
        "batches are padded on the right, and padding is never seen",
    ),
    ("patch_size", "it is for images"),
    ("phonemizer_lang", "it is for speech"),
    ("processor_class", "it is for images and sound"),
    ("remove_space", "the normalizer of `tokenizer.json` says it"),
    (
        "response_schema",
        "it is for reading answers, which training does not do",
    ),
    (
        "response_template",
        "it is for reading answers, which training does not do",
    ),
    ("return_tensors", "it names tensors of Python's models"),
    ("return_token_type_ids", "there are no types of tokens"),
    ("revision", "it says where the tokenizer came from"),
    (
        "sp_model_kwargs",
        "`tokenizer.json` is read, not a SentencePiece model",
    ),
    ("spaces_between_special_tokens", "it changes how ids are shown"),
    ("special_tokens_map_file", "it says where the tokenizer came from"),
    (
        "src_lang",
        "the language of a translation is written by the template",
    ),
    ("stride", "`data.truncation` of the recipe decides"),
    ("strip_accents", "the normalizer of `tokenizer.json` says it"),
    ("subfolder", "it says where the tokenizer came from"),
    (
        "tgt_lang",
        "the language of a translation is written by the template",
    ),
    (
        "tokenize_chinese_chars",
        "the pre-tokenizer of `tokenizer.json` says it",
    ),
    (
        "tokenizer_class",
        "`tokenizer.json` is the tokenizer; what Python's classes would change is not taken over",
    ),
    ("tokenizer_file", "it says where the tokenizer came from"),
    (
        "tokenizer_padding",
        "batches are padded by length, not by the tokenizer",
    ),
    ("tokenizer_truncation", "`data.truncation` of the recipe decides"),
    ("tokenizer_type", "`tokenizer.json` is the tokenizer"),
    ("transformers_version", "it says what wrote the file"),
    ("trim_offsets", "offsets are those of the text"),
    ("truncation", "`data.truncation` of the recipe decides"),
    ("truncation_side", "`data.truncation` of the recipe decides"),
    ("truncation_strategy", "`data.truncation` of the recipe decides"),
    ("trust_remote_code", "no code of a model is run"),
    ("unk_token_id", "`unk_token` says it"),
    ("use_default_system_prompt", "the chat template says it"),
    ("use_fast", "`tokenizer.json` is read"),
    ("verbose", "it is for messages of Python"),
    ("vocab_file", "`tokenizer.json` has the vocabulary"),
    ("vocab_size", "`tokenizer.json` has the vocabulary"),
];

/// Whether a key has no effect on ids and texts here.
pub(super) fn is_without_effect(name: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|(known, _)| *known == name)
}

/// Refuses a key with an unsupported value, and an unknown key.
pub(super) fn check(config: &Map<String, Value>) -> Result<(), DataError> {
    for (name, value) in config {
        if let Some((_, harmless)) = REFUSED.iter().find(|(refused, _)| refused == name) {
            if harmless.contains(value) {
                continue;
            }
            return Err(invalid(
                &key(TOKENIZER_CONFIG, name),
                &format!("`{value}` changes how text becomes ids, in a way that is not followed"),
                "set it to what `tokenizer.json` does without it, or save the tokenizer with transformers",
            ));
        }
        let is_token =
            name.ends_with("_token") && (value.is_string() || value.is_object() || value.is_null());
        let is_known = READ.contains(&name.as_str()) || is_token || is_without_effect(name);
        if !is_known {
            return Err(invalid(
                &key(TOKENIZER_CONFIG, name),
                "this key is not known, so it is not known whether it changes the tokens",
                "remove it if it does not; keys without effect are listed on the page about tokenizers",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::WITHOUT_EFFECT;

    #[test]
    fn every_key_without_effect_is_in_the_book() {
        let page = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/src/reference/tokenizers.md"
        );
        let page = std::fs::read_to_string(page).unwrap();
        for (key, why) in WITHOUT_EFFECT {
            assert!(page.contains(&format!("| `{key}` | {why} |")), "{key}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, WITHOUT_EFFECT.len() + 6);
    }
}
