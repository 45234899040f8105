//! The tokenizer class in a copied `tokenizer_config.json`, if transformers 5 would build a different tokenizer from
//! it.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::edit::edit;
use crate::error::ModelError;

const CLASS: &str = "tokenizer_class";
/// The class of transformers, old and new, that uses `tokenizer.json` unchanged.
const AS_IT_IS: &str = "PreTrainedTokenizerFast";

/// The steps before the vocabulary lookup. The rest of `tokenizer.json` is skipped.
#[derive(Deserialize)]
struct Pipeline {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
}

/// Makes transformers use the tokenizer in `directory` exactly as `tokenizer.json` defines it.
///
/// transformers 5 builds a `LlamaTokenizer` or `GPT2Tokenizer` from the vocabulary and the merges alone. If the file's
/// normaliser or pre-tokenizer is different, that tokenizer gives other ids than the model was trained with. In this
/// case the configuration gets the class that uses the file unchanged. Otherwise the files keep their bytes.
///
/// # Errors
/// If `tokenizer_config.json` cannot be read or written, or is not valid JSON.
pub fn keep_tokenizer_class(directory: &Path) -> Result<(), ModelError> {
    let path = directory.join("tokenizer.json");
    if !path.is_file() {
        return Ok(());
    }
    edit(&directory.join("tokenizer_config.json"), |config| {
        let class = config.get(CLASS).and_then(Value::as_str).unwrap_or_default();
        let class = class.strip_suffix("Fast").unwrap_or(class);
        if !matches!(class, "LlamaTokenizer" | "GPT2Tokenizer") {
            return;
        }
        // A file that cannot be read is copied unchanged.
        let text = fs::read(&path).unwrap_or_default();
        if let Ok(file) = serde_json::from_slice::<Pipeline>(&text)
            && !is_built_alike(class, config, &file)
        {
            config.insert(CLASS.to_owned(), json!(AS_IT_IS));
        }
    })
}

/// Whether transformers 5.23 builds the same tokenizer as the file defines.
fn is_built_alike(class: &str, config: &Map<String, Value>, file: &Pipeline) -> bool {
    let holds =
        |step: &Value, wanted: &[(&str, Value)]| wanted.iter().all(|(key, value)| step[*key] == *value);
    let prefix = |default| {
        config
            .get("add_prefix_space")
            .and_then(Value::as_bool)
            .unwrap_or(default)
    };
    if class == "GPT2Tokenizer" {
        let wanted = [
            ("type", json!("ByteLevel")),
            ("add_prefix_space", json!(prefix(false))),
            ("use_regex", json!(true)),
        ];
        return file.normalizer.is_null() && holds(&file.pre_tokenizer, &wanted);
    }
    // transformers checks this case itself: a byte-level file is used unchanged.
    if file.pre_tokenizer.to_string().contains("\"ByteLevel\"") {
        return true;
    }
    let is_legacy = config.get("legacy").and_then(Value::as_bool).unwrap_or(false);
    let scheme = match (prefix(true), is_legacy) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    let wanted = [
        ("type", json!("Metaspace")),
        ("replacement", json!("▁")),
        ("prepend_scheme", json!(scheme)),
        ("split", json!(false)),
    ];
    file.normalizer.is_null() && holds(&file.pre_tokenizer, &wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(config: &Value, pipeline: &Value) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        fs::write(path("tokenizer_config.json"), config.to_string()).unwrap();
        fs::write(path("tokenizer.json"), pipeline.to_string()).unwrap();
        keep_tokenizer_class(directory.path()).unwrap();
        fs::read_to_string(path("tokenizer_config.json")).unwrap()
    }

    #[test]
    fn a_class_that_transformers_builds_otherwise_gives_way_to_the_one_that_reads_the_file() {
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let digits = json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes]});
        let space = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
        let prepend = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]});
        let null = Value::Null;
        for (class, more, normalizer, pre_tokenizer, kept) in [
            ("GPT2Tokenizer", json!({}), &null, &bytes, true),
            (
                "GPT2Tokenizer",
                json!({"add_prefix_space": true}),
                &null,
                &bytes,
                false,
            ),
            ("GPT2TokenizerFast", json!({}), &null, &digits, false),
            ("LlamaTokenizer", json!({}), &null, &space("first"), true),
            (
                "LlamaTokenizer",
                json!({"legacy": true}),
                &null,
                &space("first"),
                false,
            ),
            (
                "LlamaTokenizer",
                json!({"legacy": true}),
                &null,
                &space("always"),
                true,
            ),
            ("LlamaTokenizerFast", json!({}), &prepend, &null, false),
            ("LlamaTokenizerFast", json!({}), &null, &bytes, true),
            ("PreTrainedTokenizerFast", json!({}), &prepend, &null, true),
            ("Qwen2Tokenizer", json!({}), &null, &digits, true),
        ] {
            let mut config = more;
            config[CLASS] = json!(class);
            let pipeline =
                json!({"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": {"vocab": {}}});
            let found = saved(&config, &pipeline);
            if kept {
                assert_eq!(found, config.to_string(), "the same bytes");
            } else {
                config[CLASS] = json!(AS_IT_IS);
                assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), config, "{class}");
            }
        }
    }
}
