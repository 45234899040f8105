//! Reads the keys this crate needs from the files beside `tokenizer.json`, and says which key is wrong.

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

/// `eos_token_id`, a number or a list of numbers.
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
    bytes.map_or(Ok(Map::new()), |bytes| {
        serde_json::from_slice(bytes)
            .map_err(|error| invalid(file, &error.to_string(), "the file is one JSON object"))
    })
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
