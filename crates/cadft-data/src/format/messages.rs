//! `messages`: turns with `role` and `content`, tool calls, reasoning and text parts.

use serde_json::{Map, Value};

use super::fields::list as list_of;
use super::{Fields, speakers};
use crate::row::{Content, Message, UnclearFlag, flag};
use crate::shown::{kind, short};

const ROLES: [&str; 7] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
    "ipython",
];

/// Number of malformed messages that are reported per list; the others are counted.
pub(super) const SHOWN: usize = 20;

pub(super) fn content(fields: &mut Fields) -> Option<Content> {
    let values = fields.list("messages", " of messages")?;
    let turns = list(values, "messages", fields.problems_mut())?;
    content_of(turns, fields)
}

/// A conversation with these turns.
pub(super) fn content_of(turns: Vec<Message>, fields: &mut Fields) -> Option<Content> {
    let (messages, tools) = conversation(turns, fields)?;
    Some(Content::Messages {
        messages,
        tools,
        trained_from: None,
    })
}

/// The turns, with the row's `system` before them, and the row's `tools`.
pub(super) fn conversation(
    mut turns: Vec<Message>,
    fields: &mut Fields,
) -> Option<(Vec<Message>, Vec<Value>)> {
    let before = fields.problems().len();
    let tools = fields.tools();
    if let Some(system) = fields.text("system").filter(|text| !text.is_empty()) {
        let is_repeated = turns
            .first()
            .is_some_and(|turn| turn.role() == "system" && turn.content() == system);
        if !is_repeated {
            turns.insert(0, Message::new("system", &system));
        }
    }
    for role in ["system", "developer"] {
        let mut places = (0..turns.len()).filter(|&index| turns[index].role() == role);
        if let (Some(first), Some(second)) = (places.next(), places.next()) {
            fields.problem(format!(
                "two `{role}` turns, the first and the second of them turns {} and {} of the conversation",
                first + 1,
                second + 1
            ));
        }
    }
    (fields.problems().len() == before).then_some((turns, tools))
}

/// The messages of a list; `None` if any is malformed. `key` is the key of the list.
pub(super) fn list(values: Vec<Value>, key: &str, problems: &mut Vec<String>) -> Option<Vec<Message>> {
    if values.is_empty() {
        problems.push(format!("`{key}`: no messages"));
        return None;
    }
    let (mut messages, mut wrong) = (Vec::new(), 0);
    for (index, value) in values.into_iter().enumerate() {
        match message(value) {
            Ok(message) => messages.push(message),
            Err(problem) => {
                wrong += 1;
                if wrong <= SHOWN {
                    problems.push(format!("`{key}[{index}]`: {problem}"));
                }
            }
        }
    }
    if wrong > SHOWN {
        problems.push(format!("`{key}`: {} more messages are wrong", wrong - SHOWN));
    }
    (wrong == 0).then_some(messages)
}

fn message(value: Value) -> Result<Message, String> {
    let Value::Object(mut fields) = value else {
        return Err(format!("expected an object, found {}", kind(&value)));
    };
    if speakers::is_turn(&fields) {
        fields = speakers::message(fields)?;
    }
    // Tables have every key in every turn, so null values are not passed to templates.
    fields.retain(|key, value| !value.is_null() || key == "content" || key == "role");
    if fields.get("role").is_some_and(|role| role == "model") {
        fields.insert("role".to_owned(), Value::from("assistant"));
    }
    let role = match fields.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.clone(),
        Some(Value::String(role)) => {
            let known = ROLES.map(|role| format!("`{role}`")).join(", ");
            return Err(format!("unknown role `{}`, expected one of {known}", short(role)));
        }
        Some(other) => return Err(format!("`role`: expected a string, found {}", kind(other))),
        None => return Err("missing key `role`".to_owned()),
    };
    optional_fields(&mut fields)?;
    let has_text = match fields.get_mut("content") {
        Some(content @ Value::Array(_)) => {
            let text = joined_parts(content)?;
            let has_text = !text.trim().is_empty();
            *content = Value::String(text);
            has_text
        }
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Null) | None if role == "assistant" => false,
        Some(other) => return Err(format!("`content`: expected text, found {}", kind(other))),
        None => return Err("missing key `content`".to_owned()),
    };
    fields.retain(|_, value| !value.is_null());
    let calls = ["tool_calls", "function_call"];
    let is_empty = role == "assistant" && !has_text && !calls.iter().any(|key| fields.contains_key(*key));
    if is_empty && !fields.contains_key("content") {
        fields.insert("content".to_owned(), Value::from(""));
    }
    let message = Message::from_fields(fields);
    if is_empty && message.is_trained() {
        return Err("empty assistant turn".to_owned());
    }
    Ok(message)
}

/// Checks the optional fields of a turn; an empty list of tool calls is removed.
fn optional_fields(fields: &mut Map<String, Value>) -> Result<(), String> {
    for key in ["name", "reasoning_content", "tool_call_id"] {
        match fields.get(key) {
            None | Some(Value::String(_)) => {}
            Some(other) => return Err(format!("`{key}`: expected a string, found {}", kind(other))),
        }
    }
    flag(fields).map_err(|UnclearFlag { key, message }| format!("`{key}`: {message}"))?;
    match fields.get("function_call") {
        None | Some(Value::Object(_)) => {}
        Some(other) => {
            return Err(format!(
                "`function_call`: expected an object, found {}",
                kind(other)
            ));
        }
    }
    let Some(calls) = fields.remove("tool_calls") else {
        return Ok(());
    };
    let calls = list_of(calls).map_err(|found| format!("`tool_calls`: expected a list, found {found}"))?;
    for (index, call) in calls.iter().enumerate() {
        let function = call.get("function").unwrap_or(call);
        if !function.get("name").is_some_and(Value::is_string) {
            return Err(format!(
                "`tool_calls[{index}]`: expected an object with the `name` of a function, by itself or in `function`"
            ));
        }
    }
    if !calls.is_empty() {
        fields.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    Ok(())
}

/// The joined text of a list of parts, `[{"type": "text", "text": ".."}]`.
fn joined_parts(parts: &Value) -> Result<String, String> {
    let parts = parts.as_array().map(Vec::as_slice).unwrap_or_default();
    let part = |(index, part): (usize, &Value)| match (part.get("type"), part.get("text")) {
        (None | Some(Value::Null), Some(Value::String(text))) => Ok(text.clone()),
        (Some(Value::String(kind)), Some(Value::String(text))) if kind == "text" => Ok(text.clone()),
        (Some(Value::String(kind)), _) if kind != "text" => Err(format!(
            "`content[{index}]`: only parts of type `text` can be trained on, found `{}`",
            short(kind)
        )),
        _ => Err(format!(
            "`content[{index}]`: expected `{{\"type\": \"text\", \"text\": ..}}`"
        )),
    };
    parts.iter().enumerate().map(part).collect()
}
