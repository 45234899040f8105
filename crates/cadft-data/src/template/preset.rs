//! Chat templates for checkpoints that have none.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A chat template that comes with this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// `<|im_start|>role\n..<|im_end|>\n`; the tokenizer needs both tokens.
    ChatMl,
    /// `<|start_header_id|>role<|end_header_id|>\n\n..<|eot_id|>` after a BOS; the tokenizer needs these tokens.
    Llama3,
    /// `### Instruction:` and `### Response:` (Stanford Alpaca), each answer ended by the end-of-sequence token.
    Alpaca,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 3] = [Self::ChatMl, Self::Llama3, Self::Alpaca];

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChatMl => "chatml",
            Self::Llama3 => "llama3",
            Self::Alpaca => "alpaca",
        }
    }

    /// The Jinja template.
    pub fn source(self) -> &'static str {
        match self {
            Self::ChatMl => include_str!("preset/chatml.jinja"),
            Self::Llama3 => include_str!("preset/llama3.jinja"),
            Self::Alpaca => include_str!("preset/alpaca.jinja"),
        }
    }

    /// The token that ends a turn; `None` if it is the tokenizer's end-of-sequence token.
    pub fn turn_end(self) -> Option<&'static str> {
        match self {
            Self::ChatMl => Some("<|im_end|>"),
            Self::Llama3 => Some("<|eot_id|>"),
            Self::Alpaca => None,
        }
    }

    /// The tokens that the template writes; each must be a single token of the vocabulary.
    pub(crate) fn tokens(self) -> &'static [&'static str] {
        match self {
            Self::ChatMl => &["<|im_start|>", "<|im_end|>"],
            Self::Llama3 => &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
            Self::Alpaca => &[],
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(|preset| format!("`{preset}`")).join(", ");
                format!("no chat template `{name}`; known are {known}")
            })
    }
}
