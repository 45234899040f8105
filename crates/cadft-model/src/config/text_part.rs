//! The language model of a checkpoint that also has a vision tower.

use serde_json::{Map, Value};

/// Models with a vision tower whose language model is supported: their `model_type`, and the `model_type` and the architecture of
/// that language model alone.
const TOWERS: [(&str, &str, &str); 2] = [
    ("qwen3_5", "qwen3_5_text", "Qwen3_5ForCausalLM"),
    ("gemma4", "gemma4_text", "Gemma4ForCausalLM"),
];

/// Keys that are beside `text_config` and belong to the language model.
const SHARED: [&str; 6] = [
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "dtype",
    "torch_dtype",
];

/// Whether the object is that of a model with a vision tower.
pub(super) fn has_tower(object: &Map<String, Value>) -> bool {
    tower(object).is_some()
}

/// The object of the language model alone; the object itself if it has no vision tower.
pub(super) fn text_part(object: Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
    let Some((name, model_type, architecture)) = tower(&object) else {
        return Ok(object);
    };
    let Some(Value::Object(text)) = object.get("text_config") else {
        return Err(vec![format!(
            "`text_config` is missing; a `{name}` has its language model there"
        )]);
    };
    let mut text = text.clone();
    if let Some(found) = text.get("model_type")
        && found != model_type
    {
        return Err(vec![format!(
            "`text_config.model_type` is `{}`; supported: `{model_type}`",
            crate::json::show(found)
        )]);
    }
    text.insert("model_type".to_owned(), model_type.into());
    text.insert("architectures".to_owned(), vec![architecture].into());
    for key in SHARED {
        let Some(value) = object.get(key) else { continue };
        // transformers ties the output weight by the outer key.
        if key == "tie_word_embeddings" || text.get(key).is_none_or(Value::is_null) {
            text.insert(key.to_owned(), value.clone());
        }
    }
    Ok(text)
}

fn tower(object: &Map<String, Value>) -> Option<(&'static str, &'static str, &'static str)> {
    let name = object.get("model_type")?.as_str()?;
    TOWERS.into_iter().find(|(tower, ..)| *tower == name)
}
