//! The formats of rows, detected by their keys or given, and their conversion to [`Content`].
//!
//! | format | keys | becomes |
//! |---|---|---|
//! | `messages` | `messages`, `tools`, `system` | a conversation |
//! | `conversations` | `conversations` of `from` and `value`, `tools`, `system` | a conversation |
//! | `alpaca` | `instruction`, `input`, `output`, `system`, `history`, `tools` | a conversation |
//! | `prompt-completion` | `prompt`, `completion`, `tools` | two strings, or a conversation |
//! | `text` | `text` | text |
//!
//! Every format also has `id`, `weight`, `answer` and `chat_template_kwargs`.

mod alpaca;
mod columns;
mod conversations;
mod fields;
mod messages;
mod prompt_completion;
mod speakers;
mod text;
mod wrong;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::FORMAT_HINT;
use crate::row::{Content, Row};
pub use columns::Columns;
pub(crate) use fields::Cells;
use fields::Fields;
pub(crate) use speakers::speaker;
pub(crate) use wrong::{Absent, Wrong};

/// The format of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// OpenAI's: `messages` of `role` and `content`.
    Messages,
    /// ShareGPT's: `conversations` of `from` and `value`.
    Conversations,
    /// Stanford Alpaca's: `instruction`, `input` and `output`.
    Alpaca,
    /// TRL's: `prompt` and `completion`, strings or lists of messages.
    PromptCompletion,
    /// `text`.
    Text,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [
        Self::Messages,
        Self::Conversations,
        Self::Alpaca,
        Self::PromptCompletion,
        Self::Text,
    ];

    /// Its name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Conversations => "conversations",
            Self::Alpaca => "alpaca",
            Self::PromptCompletion => "prompt-completion",
            Self::Text => "text",
        }
    }

    /// The keys that a row of this format must have.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["messages"],
            Self::Conversations => &["conversations"],
            Self::Alpaca => &["instruction", "output"],
            Self::PromptCompletion => &["prompt", "completion"],
            Self::Text => &["text"],
        }
    }

    /// Detects the format from the keys of a row. Data sets often repeat one format in the keys of another: the first
    /// user turn as `prompt`, or the rendered conversation as `text`. So the order matters.
    fn detect(fields: &Fields) -> Option<Self> {
        let order = [
            Self::Messages,
            Self::Conversations,
            Self::PromptCompletion,
            Self::Alpaca,
            Self::Text,
        ];
        let is_whole = |format: &Self| format.required().iter().all(|key| fields.has(key));
        let is_partial = |format: &Self| format.required().iter().any(|key| fields.has(key));
        order
            .into_iter()
            .find(is_whole)
            .or_else(|| order.into_iter().find(is_partial))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the records of a source are converted to rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// The format; if it is absent, the keys of each row decide.
    pub(crate) format: Option<Format>,
    /// Column names that differ from the keys of the formats.
    pub(crate) columns: Columns,
}

impl Shape {
    /// Whether a column can affect a row.
    pub(crate) fn reads(&self, column: &str) -> bool {
        let mapped = self.columns.mapped();
        let is_key = columns::KEYS.contains(&column) || column == fields::VARIABLES;
        let is_replaced = mapped.iter().any(|(key, _)| *key == column);
        mapped.iter().any(|(_, name)| name == column) || is_key && !is_replaced
    }

    /// Converts a record to a row; otherwise returns all its problems.
    pub(crate) fn row(&self, record: Map<String, Value>, cells: Cells) -> Result<Row, Vec<Wrong>> {
        let mut fields = Fields::new(record, cells);
        self.columns.rename(&mut fields);
        let format = self.format.or_else(|| self.columns.format());
        let format = format.or_else(|| Format::detect(&fields));
        let weight = fields.weight();
        let id = fields.name("id");
        let answer = fields.name("answer");
        let template_variables = fields.template_variables();
        let content = match format {
            Some(format) => self.content(format, &mut fields),
            None => {
                let what = "no `messages`, `conversations`, `prompt` and `completion`, `instruction` and `output`, \
                            or `text`";
                fields.absent(what.to_owned(), Some(FORMAT_HINT));
                None
            }
        };
        match content {
            Some(content) if fields.is_good() => {
                let row = Row {
                    weight,
                    answer,
                    template_variables,
                    ..Row::of(content)
                };
                Ok(Row {
                    id: id.unwrap_or_else(|| row.fingerprint()),
                    ..row
                })
            }
            _ => Err(fields.into_wrong()),
        }
    }

    fn content(&self, format: Format, fields: &mut Fields) -> Option<Content> {
        let missing: Vec<_> = format.required().iter().filter(|key| !fields.has(key)).collect();
        if !missing.is_empty() {
            for key in missing {
                let present = format.required().iter().find(|key| fields.has(key));
                let what = match (self.columns.column(key), present) {
                    (Some(column), _) => format!("no column `{column}` (`columns.{key}`)"),
                    (None, Some(present)) => format!("`{present}` without `{key}`"),
                    (None, None) => format!("no `{key}`"),
                };
                fields.absent(what, Some(FORMAT_HINT));
            }
            return None;
        }
        match format {
            Format::Messages => messages::content(fields),
            Format::Conversations => conversations::content(fields),
            Format::Alpaca => alpaca::content(fields),
            Format::PromptCompletion => prompt_completion::content(fields),
            Format::Text => text::content(fields),
        }
    }
}
