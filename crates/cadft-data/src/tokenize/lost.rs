//! Finds the parts of a conversation that its chat template does not show.
//!
//! A part is lost if the conversation without it renders to the same text.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::row::Message;
use crate::template::REASONING;

/// A part of a conversation that a chat template may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The definitions of tools.
    Tools,
    /// Calls of tools, under `tool_calls` or `function_call`.
    ToolCalls,
    /// The text of an assistant's turn beside a call.
    TextBesideCalls,
    /// Reasoning, under `reasoning_content`, `thinking` or `reasoning`.
    Reasoning,
    /// The text of `system` turns.
    System,
    /// The text of `developer` turns.
    Developer,
    /// The text of `user` turns.
    User,
    /// The answers of tools.
    ToolAnswers,
}

impl Part {
    /// The warning about a part that the chat template leaves out of some rows: the message and the hint.
    pub fn warning(self, lost: usize, rows: usize) -> (String, &'static str) {
        let message = format!("the chat template does not show {self} of {lost} of {rows} rows");
        let hint = match self {
            Self::Tools | Self::ToolCalls | Self::ToolAnswers => {
                "the model cannot learn to use tools from text without them; use a chat template that shows them"
            }
            Self::TextBesideCalls | Self::Reasoning => {
                "it is not trained; use a chat template that shows it, or put it into the `content` of the turn"
            }
            Self::Developer => "call the role `system`, or use a chat template that shows it",
            Self::System | Self::User => "use a chat template that shows it",
        };
        (message, hint)
    }

    /// Whether the part's own text in a rendering proves that the part is shown.
    fn is_told_by_its_text(self) -> bool {
        !matches!(self, Self::Tools | Self::ToolCalls)
    }

    /// The messages without this part.
    fn removed(self, messages: &[Message]) -> Vec<Message> {
        let without = |message: &Message| {
            let mut fields = message.fields().clone();
            for (part, key, _) in parts(message) {
                match key {
                    _ if part != self => {}
                    "content" => fields[key] = Value::from(""),
                    key => {
                        fields.shift_remove(key);
                    }
                }
            }
            Message::from_fields(fields)
        };
        messages.iter().map(without).collect()
    }
}

/// A text of at least this many bytes does not occur in a rendering by chance.
const TELLING: usize = 4;

/// The parts of a message, each with its field.
fn parts(message: &Message) -> impl Iterator<Item = (Part, &str, &Value)> {
    let role = message.role();
    let has_calls = || {
        ["tool_calls", "function_call"]
            .iter()
            .any(|key| message.field(key).is_some_and(is_filled))
    };
    let of_content = match role {
        "assistant" if has_calls() => Some(Part::TextBesideCalls),
        "system" => Some(Part::System),
        "developer" => Some(Part::Developer),
        "user" => Some(Part::User),
        "tool" | "function" | "ipython" => Some(Part::ToolAnswers),
        _ => None,
    };
    let fields = message.fields().iter().filter(|(_, value)| is_filled(value));
    fields.filter_map(move |(key, value)| {
        let part = match key.as_str() {
            "content" => of_content?,
            "tool_calls" | "function_call" => Part::ToolCalls,
            key if REASONING.contains(&key) => Part::Reasoning,
            _ => return None,
        };
        Some((part, key.as_str(), value))
    })
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// The parts that a rendered conversation, `text`, does not show. `render` renders changed messages, with or without
/// the tools.
pub(super) fn lost(
    messages: &[Message],
    tools: &[Value],
    text: &str,
    render: impl Fn(&[Message], &[Value]) -> Option<String>,
) -> Vec<Part> {
    // The parts that occur, and whether their texts prove that they are shown.
    let mut is_shown = BTreeMap::new();
    for (part, _, value) in messages.iter().flat_map(parts) {
        let is_shown = is_shown.entry(part).or_insert(false);
        let own = value.as_str().unwrap_or_default().trim();
        *is_shown = *is_shown || part.is_told_by_its_text() && own.len() >= TELLING && text.contains(own);
    }
    if !tools.is_empty() {
        is_shown.insert(Part::Tools, false);
    }
    let is_lost = |part: &Part| {
        let without = match part {
            Part::Tools => render(messages, &[]),
            part => render(&part.removed(messages), tools),
        };
        without.as_deref() == Some(text)
    };
    let untold = is_shown.into_iter().filter(|(_, is_shown)| !is_shown);
    untold.map(|(part, _)| part).filter(is_lost).collect()
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tools => "the tools",
            Self::ToolCalls => "the tool calls",
            Self::TextBesideCalls => "the text beside tool calls",
            Self::Reasoning => "the reasoning",
            Self::System => "the `system` text",
            Self::Developer => "the `developer` text",
            Self::User => "the `user` text",
            Self::ToolAnswers => "the answers of tools",
        })
    }
}
