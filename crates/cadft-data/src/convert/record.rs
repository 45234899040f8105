//! Converts a row to a record of a format, and checks that reading it gives the row back.

use serde_json::{Map, Value, json};

use crate::format::{Cells, Format, Shape, speaker};
use crate::row::{Content, FLAGS, Message, Row};
use crate::shown::list;

/// The record of a row in a format; an error if the format cannot express the row.
pub(crate) fn of(row: &Row, format: Format) -> Result<Map<String, Value>, String> {
    let mut record = Map::new();
    record.insert("id".to_owned(), json!(row.id));
    match &row.content {
        Content::Text(text) if format == Format::Text => {
            record.insert("text".to_owned(), json!(text));
        }
        Content::Text(_) => return Err("plain text has no turns and no prompt".to_owned()),
        Content::PromptCompletion { prompt, completion } if format == Format::PromptCompletion => {
            record.insert("prompt".to_owned(), json!(prompt));
            record.insert("completion".to_owned(), json!(completion));
        }
        Content::PromptCompletion { .. } if format == Format::Text => {
            return Err("as text, the prompt would be trained too".to_owned());
        }
        Content::PromptCompletion { .. } => {
            return Err(
                "a prompt and completion of strings have no turns; a chat template would add to them"
                    .to_owned(),
            );
        }
        Content::Messages {
            messages,
            tools,
            trained_from,
        } => {
            record.extend(conversation(messages, *trained_from, format)?);
            if !tools.is_empty() {
                record.insert("tools".to_owned(), json!(tools));
            }
        }
    }
    if !row.template_variables.is_empty() {
        record.insert("chat_template_kwargs".to_owned(), json!(row.template_variables));
    }
    if row.weight != 1.0 {
        record.insert("weight".to_owned(), json!(row.weight));
    }
    if let Some(answer) = &row.answer {
        record.insert("answer".to_owned(), json!(answer));
    }
    Ok(record)
}

fn conversation(
    messages: &[Message],
    trained_from: Option<usize>,
    format: Format,
) -> Result<Map<String, Value>, String> {
    let keyed = |key: &str, value: Value| Map::from_iter([(key.to_owned(), value)]);
    Ok(match format {
        Format::Messages => keyed("messages", json!(untrained(messages, trained_from))),
        Format::Conversations => {
            let turns = untrained(messages, trained_from).into_iter().enumerate();
            let turns = turns.map(|(index, message)| {
                turn(message.fields().clone()).map_err(|reason| format!("turn {}: {reason}", index + 1))
            });
            keyed("conversations", turns.collect::<Result<_, _>>()?)
        }
        Format::PromptCompletion => {
            let last = messages.iter().rposition(Message::is_assistant);
            let seam = trained_from
                .or(last)
                .ok_or("it has no assistant turn to complete")?;
            let mut fields = keyed("prompt", json!(messages[..seam]));
            fields.insert("completion".to_owned(), json!(messages[seam..]));
            fields
        }
        Format::Alpaca => alpaca(messages)?,
        Format::Text => return Err("a conversation is text only under a chat template".to_owned()),
    })
}

/// The turns, with those of the prompt marked as not trained.
fn untrained(messages: &[Message], trained_from: Option<usize>) -> Vec<Message> {
    let mark = |(index, message): (usize, &Message)| {
        if !message.is_trained() || index >= trained_from.unwrap_or(0) {
            return message.clone();
        }
        let mut fields = message.fields().clone();
        fields.retain(|key, _| !FLAGS.contains(&key.as_str()));
        fields.insert("train".to_owned(), json!(false));
        Message::from_fields(fields)
    };
    messages.iter().enumerate().map(mark).collect()
}

/// A turn in the form of `from` and `value`.
fn turn(mut fields: Map<String, Value>) -> Result<Value, String> {
    let role = fields.remove("role").unwrap_or_default();
    let content = fields.remove("content").filter(|content| !content.is_null());
    let mut turn = Map::new();
    match fields.remove("tool_calls") {
        Some(Value::Array(calls)) => {
            if content.is_some_and(|content| content != "") {
                return Err("ShareGPT has no turns with both text and tool calls".to_owned());
            }
            let mut calls: Vec<_> = calls
                .iter()
                .map(|call| call.get("function").unwrap_or(call).clone())
                .collect();
            let value = if calls.len() == 1 {
                calls.remove(0)
            } else {
                Value::Array(calls)
            };
            turn.insert("from".to_owned(), json!("function_call"));
            turn.insert("value".to_owned(), json!(value.to_string()));
        }
        _ => {
            let role = role.as_str().unwrap_or_default();
            let name = speaker(role).ok_or_else(|| format!("ShareGPT has no name for the role `{role}`"))?;
            turn.insert("from".to_owned(), json!(name));
            turn.insert("value".to_owned(), content.unwrap_or_default());
        }
    }
    turn.extend(fields);
    Ok(Value::Object(turn))
}

fn alpaca(messages: &[Message]) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    let turns = match messages {
        [first, rest @ ..] if first.role() == "system" => {
            fields.insert("system".to_owned(), json!(first.content()));
            rest
        }
        all => all,
    };
    let alternates = turns
        .chunks(2)
        .all(|pair| pair.len() == 2 && pair[0].role() == "user" && pair[1].is_assistant());
    let [earlier @ .., question, answer] = turns else {
        return Err("Alpaca has an instruction and an output".to_owned());
    };
    if !alternates {
        return Err("Alpaca has pairs of a user's and an assistant's turn only".to_owned());
    }
    let history: Vec<_> = earlier
        .chunks(2)
        .map(|pair| json!([pair[0].content(), pair[1].content()]))
        .collect();
    fields.insert("instruction".to_owned(), json!(question.content()));
    fields.insert("output".to_owned(), json!(answer.content()));
    if !history.is_empty() {
        fields.insert("history".to_owned(), json!(history));
    }
    Ok(fields)
}

/// Reads a record; an error unless this gives the row back.
pub(super) fn check(
    row: &Row,
    format: Format,
    record: &Map<String, Value>,
    cells: Cells,
) -> Result<(), String> {
    let shape = Shape {
        format: Some(format),
        ..Shape::default()
    };
    let read = shape
        .row(record.clone(), cells)
        .map_err(|wrong| format!("as `{format}` it would not be read: {}", list(wrong)))?;
    let lost = |what: &str| Err(format!("as `{format}` it would lose {what}"));
    if (&read.id, read.weight, &read.answer) != (&row.id, row.weight, &row.answer) {
        return lost("its `id`, `weight` or `answer`");
    }
    let (before, after) = (Trained::of(&row.content), Trained::of(&read.content));
    if (&before.turns, &before.flags, &before.completion) == (&after.turns, &after.flags, &after.completion) {
        Ok(())
    } else if before.turns == after.turns {
        lost("which of its turns are trained")
    } else {
        lost("some of its fields")
    }
}

/// What a model learns from a content, independent of how it is written.
struct Trained {
    /// The turns without their training marks, and the tools.
    turns: Value,
    /// For each turn, whether it is trained.
    flags: Vec<bool>,
    /// Indices of the turns that the mask `completion` trains.
    completion: Vec<usize>,
}

impl Trained {
    fn of(content: &Content) -> Self {
        let Content::Messages {
            messages,
            tools,
            trained_from,
        } = content
        else {
            return Self {
                turns: json!(match content {
                    Content::PromptCompletion { prompt, completion } => vec![prompt, completion],
                    Content::Text(text) => vec![text],
                    Content::Messages { .. } => vec![],
                }),
                flags: Vec::new(),
                completion: Vec::new(),
            };
        };
        let bare = |message: &Message| {
            let mut fields = message.fields().clone();
            fields.retain(|key, value| !value.is_null() && !FLAGS.contains(&key.as_str()));
            fields.sort_keys();
            fields
        };
        let from = trained_from.unwrap_or(0);
        let flags: Vec<_> = (0..messages.len())
            .map(|index| index >= from && messages[index].is_trained())
            .collect();
        let mut completion: Vec<_> = (from..messages.len())
            .filter(|&index| messages[index].is_assistant())
            .collect();
        if trained_from.is_none() {
            completion.drain(..completion.len().saturating_sub(1));
        }
        Self {
            turns: json!({"turns": messages.iter().map(bare).collect::<Vec<_>>(), "tools": tools}),
            flags,
            completion,
        }
    }
}
