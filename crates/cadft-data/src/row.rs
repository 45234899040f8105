//! One row of a data file: what it says, how much it weighs, and what to call it.

mod flags;

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub(crate) use flags::{FLAGS, UnclearFlag, flag};

/// Where in a data file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of a text file, counted from 1.
    Line(usize),
    /// A row of a file that has no lines (Parquet), counted from 1.
    Row(usize),
}

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The row's `id`, or the first 16 hexadecimal digits of the SHA-256 of its content.
    pub id: String,
    /// A multiplier of the row's loss, finite and not negative.
    pub weight: f64,
    /// The reference answer that evaluation by generation compares with.
    pub answer: Option<String>,
    /// Variables of the chat template for this row alone (`chat_template_kwargs`), which come before those of a recipe.
    pub template_variables: Map<String, Value>,
    /// The file it was read from; empty for a row that was not read.
    pub file: Arc<str>,
    /// Its line in that file, or its row number in a Parquet file, counted from 1.
    pub line: usize,
    /// The position of its source in the list of sources that was read.
    pub source: usize,
    /// What is learned from.
    pub content: Content,
}

impl Row {
    /// A row of weight 1 that is named after its content.
    pub fn new(content: Content) -> Self {
        Self {
            id: content.fingerprint(),
            ..Self::of(content)
        }
    }

    /// [`Content::fingerprint`], in which the row's template variables count too.
    pub fn fingerprint(&self) -> String {
        if self.template_variables.is_empty() {
            return self.content.fingerprint();
        }
        hashed(
            json!({"content": self.content.fingerprint(), "chat_template_kwargs": self.template_variables}),
        )
    }

    /// Where it is in its file.
    pub fn place(&self) -> Place {
        let name = self.file.to_lowercase();
        if name.ends_with(".parquet") || name.ends_with(".pq") {
            Place::Row(self.line)
        } else {
            Place::Line(self.line)
        }
    }

    /// A row of weight 1 without a name.
    pub(crate) fn of(content: Content) -> Self {
        Self {
            id: String::new(),
            weight: 1.0,
            answer: None,
            template_variables: Map::new(),
            file: Arc::from(""),
            line: 0,
            source: 0,
            content,
        }
    }
}

/// The formats a row can have.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A conversation, to be rendered by the model's chat template.
    Messages {
        /// The turns, in order.
        messages: Vec<Message>,
        /// Tool definitions, given to the template as they are.
        tools: Vec<Value>,
        /// Messages before this one are a prompt and never trained (a `prompt` and `completion` of messages).
        trained_from: Option<usize>,
    },
    /// Two strings that follow each other; only the second is learned.
    PromptCompletion {
        /// The context.
        prompt: String,
        /// What is learned.
        completion: String,
    },
    /// Plain text, learned whole.
    Text(String),
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(bytes_of).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| key.len() + bytes_of(value))
            .sum(),
        _ => 1,
    }
}

impl Content {
    /// The bytes of its texts, more or less.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Messages { messages, tools, .. } => {
                let fields = messages.iter().flat_map(|message| message.0.values());
                fields.chain(tools).map(bytes_of).sum()
            }
            Self::PromptCompletion { prompt, completion } => prompt.len() + completion.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the content as JSON with sorted keys. Neither the
    /// order of keys nor whitespace between them in the file matters, nor do `weight` and `answer`.
    pub fn fingerprint(&self) -> String {
        let canonical = match self {
            Self::Messages {
                messages,
                tools,
                trained_from,
            } => {
                json!({"messages": messages, "tools": tools, "trained_from": trained_from})
            }
            Self::PromptCompletion { prompt, completion } => {
                json!({"prompt": prompt, "completion": completion})
            }
            Self::Text(text) => json!({"text": text}),
        };
        hashed(canonical)
    }
}

/// The first 16 hexadecimal digits of the SHA-256 of a value as JSON with sorted keys.
fn hashed(mut value: Value) -> String {
    value.sort_all_objects();
    Sha256::digest(value.to_string())
        .iter()
        .take(8)
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// One turn of a conversation, with every key of the file kept for the chat template.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Message(Map<String, Value>);

impl Message {
    /// A turn of plain text.
    pub fn new(role: &str, content: &str) -> Self {
        let fields = [("role", role), ("content", content)];
        Self(
            fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), Value::from(value)))
                .collect(),
        )
    }

    /// A turn with these fields; `role` is expected among them.
    pub fn from_fields(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Who speaks: `system`, `user`, `assistant`, ...
    pub fn role(&self) -> &str {
        self.text("role")
    }

    /// The text of the turn, empty where it has none (a turn of tool calls).
    pub fn content(&self) -> &str {
        self.text("content")
    }

    /// Whether the model says this turn.
    pub fn is_assistant(&self) -> bool {
        self.role() == "assistant"
    }

    /// Whether the model says this turn and no field takes it out of training: `"train": false`, OpenAI's
    /// `"weight": 0`, or what other tools write for that (`training`, `trainable`, `loss`, `loss_mask`, `loss_scale`).
    pub fn is_trained(&self) -> bool {
        self.is_assistant() && !matches!(flag(&self.0), Ok(Some((_, false))))
    }

    /// Every field of the turn.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A field such as `tool_calls` or `reasoning_content`.
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The same turn with another text.
    pub fn with_content(&self, content: &str) -> Self {
        let mut fields = self.0.clone();
        fields.insert("content".to_owned(), Value::from(content));
        Self(fields)
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}
