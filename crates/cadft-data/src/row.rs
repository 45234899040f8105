//! One row of a data file: its content, weight and id.

mod flags;

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub(crate) use flags::{FLAGS, UnclearFlag, flag};

/// A place in a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of a text file, counted from 1.
    Line(usize),
    /// A row of a file without lines (Parquet), counted from 1.
    Row(usize),
}

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The row's `id`, or the first 16 hexadecimal digits of the SHA-256 of its content.
    pub id: String,
    /// The factor of the row's loss; finite and not negative.
    pub weight: f64,
    /// The reference answer for evaluation by generation.
    pub answer: Option<String>,
    /// Chat template variables for this row (`chat_template_kwargs`); they override those of a recipe.
    pub template_variables: Map<String, Value>,
    /// The file of the row; empty if the row was not read from a file.
    pub file: Arc<str>,
    /// The line in that file, or the row number in a Parquet file, counted from 1.
    pub line: usize,
    /// The index of the row's source in the list of sources.
    pub source: usize,
    /// The content that is trained.
    pub content: Content,
}

impl Row {
    /// A row of weight 1 whose id is the fingerprint of its content.
    pub fn new(content: Content) -> Self {
        Self {
            id: content.fingerprint(),
            ..Self::of(content)
        }
    }

    /// [`Content::fingerprint`], extended by the row's template variables.
    pub fn fingerprint(&self) -> String {
        if self.template_variables.is_empty() {
            return self.content.fingerprint();
        }
        hashed(
            json!({"content": self.content.fingerprint(), "chat_template_kwargs": self.template_variables}),
        )
    }

    /// The place in its file.
    pub fn place(&self) -> Place {
        let name = self.file.to_lowercase();
        if name.ends_with(".parquet") || name.ends_with(".pq") {
            Place::Row(self.line)
        } else {
            Place::Line(self.line)
        }
    }

    /// A row of weight 1 with an empty id.
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

/// The content of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A conversation that the model's chat template renders.
    Messages {
        /// The turns in their order.
        messages: Vec<Message>,
        /// Tool definitions, passed to the template unchanged.
        tools: Vec<Value>,
        /// Messages before this index are a prompt and never trained (for `prompt` and `completion` with messages).
        trained_from: Option<usize>,
    },
    /// Two consecutive strings; only the second is trained.
    PromptCompletion {
        /// The context.
        prompt: String,
        /// The text that is trained.
        completion: String,
    },
    /// Plain text, all of which is trained.
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
    /// The approximate size of its texts in bytes.
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

    /// The first 16 hexadecimal digits of the SHA-256 of the content, as JSON with sorted keys. It does not depend on
    /// the order of keys or whitespace in the file, nor on `weight` and `answer`.
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

/// One turn of a conversation. It keeps every key of the file for the chat template.
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

    /// A turn with these fields, which should include `role`.
    pub fn from_fields(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// The role of the speaker: `system`, `user`, `assistant`, ...
    pub fn role(&self) -> &str {
        self.text("role")
    }

    /// The text of the turn; empty if it has none, as in a turn with tool calls.
    pub fn content(&self) -> &str {
        self.text("content")
    }

    /// Whether the turn is the model's.
    pub fn is_assistant(&self) -> bool {
        self.role() == "assistant"
    }

    /// Whether the turn is the model's and no field excludes it from training: `"train": false`, OpenAI's
    /// `"weight": 0`, or the fields of other tools (`training`, `trainable`, `loss`, `loss_mask`, `loss_scale`).
    pub fn is_trained(&self) -> bool {
        self.is_assistant() && !matches!(flag(&self.0), Ok(Some((_, false))))
    }

    /// All fields of the turn.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The field `key`, such as `tool_calls` or `reasoning_content`; `None` if it is absent.
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The same turn with a different text.
    pub fn with_content(&self, content: &str) -> Self {
        let mut fields = self.0.clone();
        fields.insert("content".to_owned(), Value::from(content));
        Self(fields)
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}
