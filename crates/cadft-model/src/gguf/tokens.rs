//! The tokens in a GGUF file, and how text is split into them.

use serde_json::{Value as Json, json};

use super::file::{GgufFile, Value};
use crate::error::ModelError;
use crate::shown::cut;

pub(super) const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;

/// How text is split into tokens and put together again.
pub(super) struct Splitting {
    pub(super) normalizer: Json,
    pub(super) pre_tokenizer: Json,
    pub(super) decoder: Json,
    pub(super) merges: Json,
    pub(super) ignores_merges: bool,
    /// Whether a character that is no token becomes the tokens of its bytes.
    pub(super) falls_back_to_bytes: bool,
    pub(super) unknown: Option<String>,
    /// Whether the beginning-of-sequence token is put before a text, unless the file says otherwise.
    pub(super) adds_bos: bool,
}

/// The kind of byte-pair encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of bytes, as GPT-2.
    ByteLevel,
    /// Of characters, as Llama 2.
    SentencePiece,
}

impl Kind {
    const ALL: [(&'static str, Self); 2] = [("gpt2", Self::ByteLevel), ("llama", Self::SentencePiece)];

    fn read(file: &GgufFile) -> Result<Self, ModelError> {
        const KEY: &str = "tokenizer.ggml.model";
        let model = file.required(KEY, file.text(KEY)?)?;
        let known = Self::ALL.iter().find(|(name, _)| *name == model);
        known.map(|&(_, kind)| kind).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join("`, `");
            let problem = format!("metadata `{KEY}` is `{}`; supported: `{names}`", cut(model));
            ModelError::gguf(&file.path, problem)
        })
    }
}

/// The tokens with their kinds and roles.
pub(super) struct Vocabulary<'a> {
    pub(super) kind: Kind,
    pub(super) tokens: Vec<&'a str>,
    pub(super) kinds: Vec<u64>,
    /// The role and id of each special token.
    pub(super) special: Vec<(&'static str, usize)>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(file: &'a GgufFile) -> Result<Self, ModelError> {
        let kind = Kind::read(file)?;
        let tokens = file.required("tokenizer.ggml.tokens", file.texts("tokenizer.ggml.tokens")?)?;
        let kinds = match file.get("tokenizer.ggml.token_type") {
            Some(Value::List(kinds)) => file
                .elements(*kinds)
                .map(|kind| match kind {
                    Value::Signed(kind) => kind.try_into().unwrap_or(0),
                    Value::Unsigned(kind) => kind,
                    _ => 0,
                })
                .collect(),
            _ => Vec::new(),
        };
        let mut special = Vec::new();
        for (name, key) in [
            ("bos", "bos"),
            ("eos", "eos"),
            ("pad", "padding"),
            ("unk", "unknown"),
        ] {
            let key = format!("tokenizer.ggml.{key}_token_id");
            if let Some(id) = file.unsigned(&key)? {
                let id = usize::try_from(id)
                    .ok()
                    .filter(|&id| id < tokens.len())
                    .ok_or_else(|| {
                        ModelError::gguf(
                            &file.path,
                            format!("metadata `{key}` is `{id}`, which is no token"),
                        )
                    })?;
                special.push((name, id));
            }
        }
        Ok(Self {
            kind,
            tokens,
            kinds,
            special,
        })
    }

    pub(super) fn special(&self, role: &str) -> Option<usize> {
        self.special
            .iter()
            .find(|(name, _)| *name == role)
            .map(|&(_, id)| id)
    }

    /// The tokens that are matched before the text is split, in the form of `tokenizer.json`.
    pub(super) fn added_tokens(&self) -> Vec<(usize, Json)> {
        let kinds = self.kinds.iter().enumerate();
        kinds
            .filter(|&(id, &kind)| (kind == CONTROL || kind == USER_DEFINED) && id < self.tokens.len())
            .map(|(id, &kind)| {
                let token = json!({"content": self.tokens[id], "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": kind == CONTROL});
                (id, token)
            })
            .collect()
    }
}
