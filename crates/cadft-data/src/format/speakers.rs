//! ShareGPT's turns with `from` and `value`, with the speaker names that data sets use.

use serde_json::{Map, Value, json};

use crate::exact;
use crate::shown::{kind, names, short};

/// Speaker names and their roles.
const SPEAKERS: [(&str, &str); 19] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("model", "assistant"),
    ("bot", "assistant"),
    ("system", "system"),
    ("developer", "developer"),
    ("tool", "tool"),
    ("observation", "tool"),
    ("function_response", "tool"),
    ("tool_response", "tool"),
    ("function", "tool"),
    ("ipython", "ipython"),
    ("function_call", CALL),
    ("tool_call", CALL),
];

/// An assistant's turn that calls functions; its value is JSON.
const CALL: &str = "function_call";

/// Whether a turn has the form of `from` and `value`.
pub(super) fn is_turn(fields: &Map<String, Value>) -> bool {
    let has = |key| fields.get(key).is_some_and(|value| !value.is_null());
    !has("role") && has("from")
}

/// Converts a turn with `from` and `value` to `role` and `content`; other keys are kept.
pub(super) fn message(mut turn: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let role = match turn.remove("from") {
        Some(Value::String(name)) => role(&name)?,
        other => {
            return Err(format!(
                "`from`: expected a string, found {}",
                kind(&other.unwrap_or_default())
            ));
        }
    };
    let value = turn
        .remove("value")
        .ok_or_else(|| "missing key `value`".to_owned())?;
    let mut fields = Map::new();
    if role == CALL {
        fields.insert("role".to_owned(), json!("assistant"));
        fields.insert("tool_calls".to_owned(), calls(&value)?);
    } else {
        if !value.is_string() {
            return Err(format!("`value`: expected a string, found {}", kind(&value)));
        }
        fields.insert("role".to_owned(), json!(role));
        fields.insert("content".to_owned(), value);
    }
    turn.remove("role");
    fields.extend(turn);
    Ok(fields)
}

/// A speaker name for this role.
pub(crate) fn speaker(role: &str) -> Option<&'static str> {
    SPEAKERS
        .iter()
        .find(|(_, known)| *known == role)
        .map(|(speaker, _)| *speaker)
}

fn role(name: &str) -> Result<&'static str, String> {
    SPEAKERS
        .iter()
        .find(|(speaker, _)| *speaker == name)
        .map(|(_, role)| *role)
        .ok_or_else(|| {
            let known = names(SPEAKERS.iter().map(|(name, _)| name));
            format!("unknown speaker `{}`, expected one of {known}", short(name))
        })
}

/// The calls of a turn: an object with `name` and `arguments`, or a list of them, usually written as a string.
fn calls(value: &Value) -> Result<Value, String> {
    let expected = "`value`: a function call is a JSON object with `name` and `arguments`, or a list of them";
    let parsed = match value {
        Value::String(text) => {
            exact::value(text).map_err(|reason| format!("{expected}; this is {reason}"))?
        }
        other => other.clone(),
    };
    let calls = match parsed {
        Value::Array(calls) => calls,
        call => vec![call],
    };
    let is_call = |call: &Value| call.get("name").is_some_and(Value::is_string);
    if calls.is_empty() || !calls.iter().all(is_call) {
        return Err(expected.to_owned());
    }
    let call = |call| json!({"type": "function", "function": call});
    Ok(calls.into_iter().map(call).collect())
}
