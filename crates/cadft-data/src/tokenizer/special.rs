//! Special and added tokens, collected from the files of a tokenizer as in `transformers`.

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::config::{
    ADDED_TOKENS, SPECIAL_TOKENS_MAP, TOKENIZER, TOKENIZER_CONFIG, failed, invalid, json_object, key,
};
use super::files::TokenizerFiles;
use super::keys::is_without_effect;
use crate::error::DataError;

/// The special token names of every tokenizer, in the order in which tokens are added.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Keys for lists of unnamed special tokens; the first one that is present is used.
const LISTS: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// The special tokens of a tokenizer.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    /// Named tokens, which are variables of templates.
    named: Vec<(String, AddedToken)>,
    /// Unnamed special tokens.
    others: Vec<AddedToken>,
    /// Tokens by their required ids, special or not.
    numbered: Vec<(u32, AddedToken)>,
    /// Whether a file has a list of unnamed tokens.
    has_list: bool,
}

impl SpecialTokens {
    /// Reads the special tokens: from `tokenizer_config.json` and, if that lists no added tokens, from
    /// `special_tokens_map.json`, which overrides it, and `added_tokens.json`.
    pub(super) fn read(files: &TokenizerFiles, config: &Map<String, Value>) -> Result<Self, DataError> {
        let mut tokens = Self::default();
        let lists_added = config
            .get("added_tokens_decoder")
            .is_some_and(|list| !list.is_null());
        tokens.take(TOKENIZER_CONFIG, config)?;
        if lists_added {
            tokens.numbered(config)?;
            return Ok(tokens);
        }
        let map = json_object(SPECIAL_TOKENS_MAP, files.special_tokens_map.as_deref())?;
        tokens.take(SPECIAL_TOKENS_MAP, &map)?;
        for (content, id) in json_object(ADDED_TOKENS, files.added_tokens.as_deref())? {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| {
                invalid(
                    &key(ADDED_TOKENS, &content),
                    "expected the id of a token",
                    "for example `{\"<tool>\": 32000}`",
                )
            })?;
            let is_special = tokens.all().any(|token| token.content == content);
            tokens.numbered.push((id, AddedToken::from(content, is_special)));
        }
        tokens.numbered.sort_by_key(|(id, _)| *id);
        Ok(tokens)
    }

    /// Adds the tokens of a file; they override earlier ones.
    fn take(&mut self, file: &str, config: &Map<String, Value>) -> Result<(), DataError> {
        for (name, value) in config {
            // Other keys with this ending may be flags.
            let is_other = name.ends_with("_token")
                && !is_without_effect(name)
                && (value.is_string() || value.is_object());
            if (NAMES.contains(&name.as_str()) && !value.is_null()) || is_other {
                self.name(name, token(file, name, value)?);
            }
        }
        let is_there = |value: &&Value| !value.is_null() && **value != json!([]) && **value != json!({});
        let list = LISTS
            .iter()
            .find_map(|name| Some((*name, config.get(*name).filter(is_there)?)));
        // A list under the old name is used only if no earlier file has a list.
        let list = list.filter(|(name, _)| *name == LISTS[0] || !self.has_list);
        self.has_list |= LISTS.iter().any(|name| config.contains_key(*name));
        match list {
            Some((name, Value::Object(named))) => self.take_named(file, name, named)?,
            Some((name, Value::Array(values))) => {
                for value in values {
                    let token = token(file, name, value)?;
                    if !self.others.iter().any(|known| known.content == token.content) {
                        self.others.push(token);
                    }
                }
            }
            Some((name, _)) => {
                let message = "expected a list of tokens, or an object of tokens by name";
                return Err(invalid(&key(file, name), message, "for example `[\"<tool>\"]`"));
            }
            None => {}
        }
        match config.get("model_specific_special_tokens") {
            Some(Value::Object(named)) => self.take_named(file, "model_specific_special_tokens", named),
            None | Some(Value::Null) => Ok(()),
            Some(_) => {
                let file = key(file, "model_specific_special_tokens");
                Err(invalid(
                    &file,
                    "expected an object of tokens by name",
                    "remove the key if unsure",
                ))
            }
        }
    }

    fn take_named(&mut self, file: &str, key: &str, named: &Map<String, Value>) -> Result<(), DataError> {
        for (name, value) in named {
            self.name(name, token(file, &format!("{key}.{name}"), value)?);
        }
        Ok(())
    }

    fn name(&mut self, name: &str, token: AddedToken) {
        match self.named.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = token,
            None => self.named.push((name.to_owned(), token)),
        }
    }

    /// Reads `added_tokens_decoder`: tokens by id.
    fn numbered(&mut self, config: &Map<String, Value>) -> Result<(), DataError> {
        let expected = |name: &str| {
            invalid(
                &key(TOKENIZER_CONFIG, name),
                "expected an object of added tokens by id",
                "for example `{\"0\": {\"content\": \"<s>\", \"special\": true}}`",
            )
        };
        let list = config.get("added_tokens_decoder").and_then(Value::as_object);
        for (id, value) in list.ok_or_else(|| expected("added_tokens_decoder"))? {
            let name = format!("added_tokens_decoder.{id}");
            let number = id.parse().map_err(|_| expected(&name))?;
            if !value.is_object() {
                return Err(expected(&name));
            }
            // Each token states whether it is special.
            let special = value.get("special").and_then(Value::as_bool).unwrap_or(false);
            let mut token = token(TOKENIZER_CONFIG, &name, value)?;
            token.special = special;
            if value.get("normalized").is_none() {
                token.normalized = !special;
            }
            self.numbered.push((number, token));
        }
        self.numbered.sort_by_key(|(id, _)| *id);
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &AddedToken> {
        let named = NAMES.iter().filter_map(|name| self.get(name)).chain(
            self.named
                .iter()
                .filter(|(name, _)| !NAMES.contains(&name.as_str()))
                .map(|(_, token)| token),
        );
        named.chain(&self.others)
    }

    fn get(&self, name: &str) -> Option<&AddedToken> {
        let found = self.named.iter().find(|(known, _)| known == name);
        found.map(|(_, token)| token)
    }

    /// The text of a named token.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|token| token.content.as_str())
    }

    /// The named tokens as variables of a template.
    pub(super) fn variables(&self) -> Vec<(&str, String)> {
        let named = self.named.iter();
        named
            .map(|(name, token)| (name.as_str(), token.content.clone()))
            .collect()
    }

    /// Adds the tokens that a tokenizer lacks.
    pub(super) fn add_to(&self, inner: &mut tokenizers::Tokenizer) -> Result<(), DataError> {
        let known = inner.get_added_tokens_decoder();
        let is_same = |a: &AddedToken, b: &AddedToken| {
            (
                &a.content,
                a.special,
                a.normalized,
                a.lstrip,
                a.rstrip,
                a.single_word,
            ) == (
                &b.content,
                b.special,
                b.normalized,
                b.lstrip,
                b.rstrip,
                b.single_word,
            )
        };
        let mut adding: Vec<AddedToken> = Vec::new();
        for (_, token) in &self.numbered {
            if !known.values().any(|known| is_same(known, token)) {
                let mut token = token.clone();
                token.special |= self.named.iter().any(|(_, named)| named.content == token.content);
                adding.push(token);
            }
        }
        for token in self.all() {
            let is_known = known.values().any(|known| known.content == token.content);
            if !is_known && !adding.iter().any(|added| added.content == token.content) {
                adding.push(token.clone());
            }
        }
        inner.add_tokens(adding).map_err(failed)?;
        for (id, token) in &self.numbered {
            let found = inner.token_to_id(&token.content);
            if found != Some(*id) {
                let content = &token.content;
                let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
                return Err(invalid(
                    &key(TOKENIZER_CONFIG, &format!("added_tokens_decoder.{id}")),
                    &format!("`{content}` has the id {found} in the vocabulary of `{TOKENIZER}`"),
                    "the two files belong to one model",
                ));
            }
        }
        Ok(())
    }
}

/// Parses a token: a string, or an object with `content` and matching options.
fn token(file: &str, name: &str, value: &Value) -> Result<AddedToken, DataError> {
    let content = match value {
        Value::String(text) => Some(text.as_str()),
        Value::Object(fields) => fields.get("content").and_then(Value::as_str),
        _ => None,
    };
    let content = content.ok_or_else(|| {
        invalid(
            &key(file, name),
            "expected a string, or an object with a string `content`",
            &format!("for example `\"{name}\": \"<s>\"`"),
        )
    })?;
    let flag = |flag: &str, otherwise: bool| match value.get(flag) {
        None | Some(Value::Null) => Ok(otherwise),
        Some(Value::Bool(set)) => Ok(*set),
        Some(_) => Err(invalid(
            &key(file, &format!("{name}.{flag}")),
            "expected `true` or `false`",
            "remove the key if unsure",
        )),
    };
    Ok(AddedToken::from(content, true)
        .lstrip(flag("lstrip", false)?)
        .rstrip(flag("rstrip", false)?)
        .single_word(flag("single_word", false)?)
        .normalized(flag("normalized", false)?))
}
