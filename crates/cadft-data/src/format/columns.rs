//! Mapping of column names: `columns = { instruction = "question", output = "answer" }`.

use serde::{Deserialize, Serialize};

use super::{Fields, Format};

macro_rules! columns {
    ($($key:ident: $doc:literal,)*) => {
        /// The column for each key; `None` if the column has the name of the key.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Columns {
            $(#[doc = $doc] #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<String>,)*
        }

        /// All keys of a row.
        pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];

        impl Columns {
            /// The mapped keys with their columns.
            pub(crate) fn mapped(&self) -> Vec<(&'static str, String)> {
                let pairs = [$((stringify!($key), &self.$key)),*];
                pairs.into_iter().filter_map(|(key, column)| Some((key, column.clone()?))).collect()
            }

            /// The field with the column of a key.
            fn slot(&mut self, key: &str) -> Option<&mut Option<String>> {
                match key {
                    $(stringify!($key) => Some(&mut self.$key),)*
                    _ => None,
                }
            }
        }
    };
}

columns! {
    messages: "A list of messages.",
    conversations: "A list of ShareGPT turns.",
    prompt: "The context.",
    completion: "What is learned.",
    instruction: "What the user asks.",
    input: "What the instruction is about.",
    output: "The answer that is learned.",
    history: "Earlier pairs of instruction and output.",
    text: "Plain text.",
    system: "A system prompt.",
    tools: "Tool definitions.",
    id: "The row's id.",
    weight: "A multiplier of the row's loss.",
    answer: "The reference answer that evaluation by generation compares with.",
}

impl Columns {
    /// Parses `KEY=COLUMN` pairs.
    ///
    /// # Errors
    /// What is wrong with the first malformed pair, and the valid keys.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut columns = Self::default();
        for pair in pairs {
            let (key, column) = pair
                .split_once('=')
                .filter(|(_, column)| !column.is_empty())
                .ok_or_else(|| format!("`{pair}`: expected KEY=COLUMN"))?;
            let slot = columns
                .slot(key)
                .ok_or_else(|| format!("unknown key `{key}`, expected one of {}", KEYS.join(", ")))?;
            *slot = Some(column.to_owned());
        }
        Ok(columns)
    }

    /// Whether no key is mapped.
    pub fn is_empty(&self) -> bool {
        self.mapped().is_empty()
    }

    /// The column of a mapped key.
    pub(super) fn column(&self, key: &str) -> Option<String> {
        let mut mapped = self.mapped().into_iter();
        mapped.find(|(name, _)| *name == key).map(|(_, column)| column)
    }

    /// The format to which the mapped keys belong.
    pub(super) fn format(&self) -> Option<Format> {
        let has = |column: &Option<String>| column.is_some();
        if has(&self.messages) {
            Some(Format::Messages)
        } else if has(&self.conversations) {
            Some(Format::Conversations)
        } else if has(&self.prompt) || has(&self.completion) {
            Some(Format::PromptCompletion)
        } else if has(&self.instruction) || has(&self.output) || has(&self.input) || has(&self.history) {
            Some(Format::Alpaca)
        } else {
            has(&self.text).then_some(Format::Text)
        }
    }

    /// Moves every mapped column to its key. One column may be mapped to several keys.
    pub(super) fn rename(&self, fields: &mut Fields) {
        let mapped = self.mapped();
        let values: Vec<_> = mapped
            .iter()
            .map(|(key, column)| (*key, fields.get(column).cloned()))
            .collect();
        for (_, column) in &mapped {
            fields.remove(column);
        }
        for (key, value) in values {
            match value {
                Some(value) => fields.put(key, value),
                None => fields.remove(key),
            }
        }
    }
}
