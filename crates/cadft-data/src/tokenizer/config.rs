//! Reads the keys of the files beside `tokenizer.json` that this crate needs; errors name the key.

use serde_json::{Map, Value};

use crate::error::DataError;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";
pub(super) const CHAT_TEMPLATE: &str = "chat_template.jinja";
pub(super) const CHAT_TEMPLATE_JSON: &str = "chat_template.json";
pub(super) const ADDITIONAL_TEMPLATES: &str = "additional_chat_templates";
pub(super) const GENERATION_CONFIG: &str = "generation_config.json";
pub(super) const CONFIG: &str = "config.json";

/// `eos_token_id`: a number or a list of numbers.
pub(super) fn eos_token_ids(file: &str, config: &Map<String, Value>) -> Result<Vec<u32>, DataError> {
    let ids = match config.get("eos_token_id") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.as_slice(),
        Some(id) => std::slice::from_ref(id),
    };
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    ids.iter().map(id).collect::<Option<_>>().ok_or_else(|| {
        invalid(
            &key(file, "eos_token_id"),
            "expected a token id or a list of token ids",
            "for example `[1, 2]`",
        )
    })
}

pub(super) fn json_object(file: &str, bytes: Option<&[u8]>) -> Result<Map<String, Value>, DataError> {
    let Some(bytes) = bytes else {
        return Ok(Map::new());
    };
    serde_json::from_slice(bytes)
        .or_else(|error| serde_json::from_slice(&without_python_numbers(bytes)).map_err(|_| error))
        .map_err(|error| invalid(file, &error.to_string(), "the file is one JSON object"))
}

/// Replaces Python's `Infinity` and `NaN` in JSON by null. No key that is used here has such a value.
fn without_python_numbers(bytes: &[u8]) -> Vec<u8> {
    const NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut is_string) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let number = NUMBERS
            .iter()
            .find(|number| !is_string && rest.starts_with(number));
        if let Some(number) = number {
            out.extend_from_slice(b"null");
            at += number.len();
            continue;
        }
        let is_escape = is_string && byte == b'\\';
        is_string ^= byte == b'"';
        let end = (at + 1 + usize::from(is_escape)).min(bytes.len());
        out.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    out
}

pub(super) fn key(file: &str, key: &str) -> String {
    format!("{file}: {key}")
}

pub(super) fn invalid(file: &str, message: &str, hint: &str) -> DataError {
    DataError::Tokenizer {
        file: file.to_owned(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}

pub(super) fn failed(source: tokenizers::Error) -> DataError {
    DataError::Encoding { source }
}
