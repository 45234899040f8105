//! Reads JSON Lines and reports everything that is wrong with a file at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{DataError, Problem};
use crate::row::{Content, Message, Row};

const ROLES: [&str; 7] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
    "ipython",
];

/// Reads the rows of a JSON Lines file.
///
/// # Errors
/// [`DataError::Io`], [`DataError::Empty`], or [`DataError::Invalid`] with every problem of the file.
pub fn read_jsonl(path: &Path) -> Result<Vec<Row>, DataError> {
    let io_error = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io_error)?;
    read_rows(&path.display().to_string(), BufReader::new(file)).map_err(io_error)?
}

/// Parses the rows of JSON Lines held in memory; `name` stands for the path in messages.
///
/// # Errors
/// As [`read_jsonl`].
pub fn parse_jsonl(name: &str, bytes: &[u8]) -> Result<Vec<Row>, DataError> {
    read_rows(name, bytes).map_err(|source| DataError::Io {
        path: name.into(),
        source,
    })?
}

fn read_rows(name: &str, mut reader: impl BufRead) -> io::Result<Result<Vec<Row>, DataError>> {
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    let mut buffer = Vec::new();
    for line in 1.. {
        buffer.clear();
        if reader.read_until(b'\n', &mut buffer)? == 0 {
            break;
        }
        let bytes = buffer.as_slice();
        let bytes = if line == 1 {
            bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
        } else {
            bytes
        };
        match parse_line(bytes.trim_ascii(), line) {
            Ok(row) => rows.extend(row),
            Err(messages) => problems.extend(messages.into_iter().map(|message| Problem {
                path: name.to_owned(),
                line,
                message,
            })),
        }
    }
    Ok(if !problems.is_empty() {
        Err(DataError::Invalid { problems })
    } else if rows.is_empty() {
        Err(DataError::Empty {
            path: name.to_owned(),
        })
    } else {
        Ok(rows)
    })
}

/// The row of a line, nothing for a blank line, or all that is wrong with it.
fn parse_line(bytes: &[u8], line: usize) -> Result<Option<Row>, Vec<String>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = str::from_utf8(bytes)
        .map_err(|error| vec![format!("invalid UTF-8 at byte {}", error.valid_up_to() + 1)])?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        vec![format!("invalid JSON at column {}: {message}", error.column())]
    })?;
    let Value::Object(mut fields) = value else {
        return Err(vec![format!("expected a JSON object, found {}", kind(&value))]);
    };
    let mut problems = Vec::new();
    let weight = weight(&fields, &mut problems);
    let id = string_or_number(&fields, "id", &mut problems);
    let answer = string_or_number(&fields, "answer", &mut problems);
    match content(&mut fields, &mut problems) {
        Some(content) if problems.is_empty() => {
            let id = id.unwrap_or_else(|| content.fingerprint());
            Ok(Some(Row {
                id,
                weight,
                answer,
                line,
                content,
            }))
        }
        _ => Err(problems),
    }
}

/// The content of a row. `messages` come before `prompt` and `completion`, and those before `text`: data sets
/// often repeat the first user turn as `prompt`.
fn content(fields: &mut Map<String, Value>, problems: &mut Vec<String>) -> Option<Content> {
    let tools = match fields.remove("tools") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(tools)) => tools,
        Some(other) => {
            problems.push(format!("`tools`: expected a list, found {}", kind(&other)));
            return None;
        }
    };
    if let Some(value) = present(fields, "messages") {
        let messages = messages(value, "messages", problems)?;
        return Some(Content::Messages {
            messages,
            tools,
            trained_from: None,
        });
    }
    match (present(fields, "prompt"), present(fields, "completion")) {
        (Some(prompt), Some(completion)) => return prompt_completion(prompt, completion, tools, problems),
        (None, Some(_)) => {
            problems.push("`completion` without `prompt`".to_owned());
            return None;
        }
        (Some(_), None) if !fields.contains_key("text") => {
            problems.push("`prompt` without `completion`".to_owned());
            return None;
        }
        _ => {}
    }
    match present(fields, "text") {
        Some(Value::String(text)) if text.is_empty() => {
            problems.push("`text`: empty".to_owned());
            None
        }
        Some(Value::String(text)) => Some(Content::Text(text)),
        Some(other) => {
            problems.push(format!("`text`: expected a string, found {}", kind(&other)));
            None
        }
        None => {
            let keys: Vec<_> = fields.keys().map(|key| format!("`{key}`")).collect();
            let found = if keys.is_empty() {
                "no keys".to_owned()
            } else {
                keys.join(", ")
            };
            problems.push(format!(
                "no `messages`, `prompt` and `completion`, or `text`: found {found}"
            ));
            None
        }
    }
}

fn prompt_completion(
    prompt: Value,
    completion: Value,
    tools: Vec<Value>,
    problems: &mut Vec<String>,
) -> Option<Content> {
    match (prompt, completion) {
        (Value::String(_), Value::String(completion)) if completion.is_empty() => {
            problems.push("`completion`: empty, there is nothing to learn".to_owned());
            None
        }
        (Value::String(prompt), Value::String(completion)) => {
            Some(Content::PromptCompletion { prompt, completion })
        }
        (prompt @ Value::Array(_), completion @ Value::Array(_)) => {
            let (prompt, completion) = (
                messages(prompt, "prompt", problems),
                messages(completion, "completion", problems),
            );
            let (mut messages, completion) = (prompt?, completion?);
            if !completion.iter().any(Message::is_assistant) {
                problems.push("`completion`: no assistant turn".to_owned());
                return None;
            }
            let trained_from = Some(messages.len());
            messages.extend(completion);
            Some(Content::Messages {
                messages,
                tools,
                trained_from,
            })
        }
        (prompt, completion) => {
            let (prompt, completion) = (kind(&prompt), kind(&completion));
            let expected = "expected two strings or two lists of messages";
            problems.push(format!(
                "`prompt` and `completion`: {expected}, found {prompt} and {completion}"
            ));
            None
        }
    }
}

fn messages(value: Value, key: &str, problems: &mut Vec<String>) -> Option<Vec<Message>> {
    let Value::Array(values) = value else {
        problems.push(format!(
            "`{key}`: expected a list of messages, found {}",
            kind(&value)
        ));
        return None;
    };
    if values.is_empty() {
        problems.push(format!("`{key}`: no messages"));
        return None;
    }
    let mut messages = Vec::with_capacity(values.len());
    let count = values.len();
    for (index, value) in values.into_iter().enumerate() {
        match message(value) {
            Ok(message) => messages.push(message),
            Err(problem) => problems.push(format!("`{key}[{index}]`: {problem}")),
        }
    }
    (messages.len() == count).then_some(messages)
}

fn message(value: Value) -> Result<Message, String> {
    let Value::Object(mut fields) = value else {
        return Err(format!("expected an object, found {}", kind(&value)));
    };
    let role = match fields.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.clone(),
        Some(Value::String(role)) => {
            let known = ROLES.map(|role| format!("`{role}`")).join(", ");
            return Err(format!("unknown role `{role}`, expected one of {known}"));
        }
        Some(other) => return Err(format!("`role`: expected a string, found {}", kind(other))),
        None => return Err("missing key `role`".to_owned()),
    };
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
    let says_otherwise = |key: &str| match fields.get(key) {
        Some(Value::Array(calls)) => !calls.is_empty(),
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Object(_)) => true,
        _ => false,
    };
    if role == "assistant" && !has_text && !["tool_calls", "function_call"].into_iter().any(says_otherwise) {
        return Err("empty assistant turn".to_owned());
    }
    Ok(Message::from_fields(fields))
}

/// The text of a list of parts, `[{"type": "text", "text": ".."}]`.
fn joined_parts(parts: &Value) -> Result<String, String> {
    let parts = parts.as_array().map(Vec::as_slice).unwrap_or_default();
    let part = |(index, part): (usize, &Value)| match (part.get("type"), part.get("text")) {
        (Some(Value::String(kind)), Some(Value::String(text))) if kind == "text" => Ok(text.clone()),
        (Some(Value::String(kind)), _) if kind != "text" => Err(format!(
            "`content[{index}]`: only parts of type `text` can be trained on, found `{kind}`"
        )),
        _ => Err(format!(
            "`content[{index}]`: expected `{{\"type\": \"text\", \"text\": ..}}`"
        )),
    };
    parts.iter().enumerate().map(part).collect()
}

fn weight(fields: &Map<String, Value>, problems: &mut Vec<String>) -> f64 {
    match fields.get("weight") {
        None | Some(Value::Null) => 1.0,
        Some(value) => match value.as_f64() {
            Some(weight) if weight.is_finite() && weight >= 0.0 => weight,
            Some(weight) => {
                problems.push(format!(
                    "`weight`: expected a finite number of at least 0, found `{weight}`"
                ));
                1.0
            }
            None => {
                problems.push(format!("`weight`: expected a number, found {}", kind(value)));
                1.0
            }
        },
    }
}

fn string_or_number(fields: &Map<String, Value>, key: &str, problems: &mut Vec<String>) -> Option<String> {
    match fields.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(other) => {
            problems.push(format!(
                "`{key}`: expected a string or a number, found {}",
                kind(other)
            ));
            None
        }
    }
}

/// Takes a key out; `null` counts as absent, as tables exported with every column have it.
fn present(fields: &mut Map<String, Value>, key: &str) -> Option<Value> {
    match fields.get(key) {
        None | Some(Value::Null) => None,
        Some(_) => fields.remove(key),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
