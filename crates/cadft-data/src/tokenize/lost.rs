//! What of a conversation its chat template does not show.
//!
//! A part is lost if the conversation without it renders to the same text.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::row::Message;
use crate::template::REASONING;

/// A part of a conversation that a chat template may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The definitions of tools.
    Tools,
    /// Calls of tools, under `tool_calls` or `function_call`.
    ToolCalls,
    /// What an assistant's turn says beside a call.
    TextBesideCalls,
    /// Reasoning, under `reasoning_content`, `thinking` or `reasoning`.
    Reasoning,
    /// The text of `system` turns.
    System,
    /// The text of `developer` turns.
    Developer,
    /// The text of `user` turns.
    User,
    /// What tools answer.
    ToolAnswers,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 8] = [
        Self::Tools,
        Self::ToolCalls,
        Self::TextBesideCalls,
        Self::Reasoning,
        Self::System,
        Self::Developer,
        Self::User,
        Self::ToolAnswers,
    ];

    /// The warning about a part that the chat template leaves out of some rows: what it says, and its hint.
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

    /// Whether a text that a rendering contains can only come from this part.
    fn is_told_by_its_text(self) -> bool {
        !matches!(self, Self::Tools | Self::ToolCalls)
    }

    /// The messages without this part.
    fn removed(self, messages: &[Message]) -> Vec<Message> {
        let without = |message: &Message| {
            let mut fields = message.fields().clone();
            for key in self.keys_of(message) {
                if key == "content" {
                    fields.insert(key.to_owned(), Value::from(""));
                } else {
                    fields.shift_remove(key);
                }
            }
            Message::from_fields(fields)
        };
        messages.iter().map(without).collect()
    }

    /// The fields of a message that hold this part.
    fn keys_of(self, message: &Message) -> impl Iterator<Item = &'static str> {
        let role = message.role();
        let has_role = match self {
            Self::Tools => false,
            Self::ToolCalls | Self::Reasoning => true,
            Self::TextBesideCalls => {
                role == "assistant" && CALLS.iter().any(|key| has(message.fields(), key))
            }
            Self::System => role == "system",
            Self::Developer => role == "developer",
            Self::User => role == "user",
            Self::ToolAnswers => ["tool", "function", "ipython"].contains(&role),
        };
        let keys: &[&'static str] = match self {
            Self::ToolCalls => &CALLS,
            Self::Reasoning => &REASONING,
            _ => &["content"],
        };
        keys.iter()
            .copied()
            .filter(move |key| has_role && has(message.fields(), key))
    }
}

const CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// A text of at least so many bytes is not in a rendering by chance.
const TELLING: usize = 4;

fn has(fields: &Map<String, Value>, key: &str) -> bool {
    match fields.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

/// The parts that `text`, a rendered conversation, does not show; `render` renders other messages, with the tools or
/// without them.
pub(super) fn lost(
    messages: &[Message],
    tools: &[Value],
    text: &str,
    render: impl Fn(&[Message], &[Value]) -> Option<String>,
) -> Vec<Part> {
    let is_lost = |part: &Part| {
        if *part == Part::Tools {
            return !tools.is_empty() && render(messages, &[]).as_deref() == Some(text);
        }
        let mut values = messages
            .iter()
            .flat_map(|message| part.keys_of(message).filter_map(|key| message.field(key)))
            .peekable();
        if values.peek().is_none() {
            return false;
        }
        let is_shown = |value: &Value| {
            let own = value.as_str().unwrap_or_default().trim();
            own.len() >= TELLING && text.contains(own)
        };
        if part.is_told_by_its_text() && values.any(is_shown) {
            return false;
        }
        render(&part.removed(messages), tools).as_deref() == Some(text)
    };
    Part::ALL.into_iter().filter(is_lost).collect()
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
