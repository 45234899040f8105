//! Refuses ambiguous vocabularies: the same text or ids must always mean the same.

use std::collections::BTreeMap;

use tokenizers::{Model, ModelWrapper};

use super::config::{TOKENIZER, invalid};
use crate::error::DataError;

/// Number of shown ids that have several tokens.
const SHOWN: usize = 5;

/// Refuses a vocabulary in which two tokens have the same id, and random dropout of merges.
pub(super) fn check(inner: &tokenizers::Tokenizer) -> Result<(), DataError> {
    let model = inner.get_model();
    if let ModelWrapper::BPE(bpe) = model
        && let Some(dropout) = bpe.dropout.filter(|dropout| *dropout > 0.0)
    {
        let message = format!("`model.dropout` is `{dropout}`: the ids of a text would be random");
        return Err(invalid(TOKENIZER, &message, "set it to `null`"));
    }
    // If every id below the number of tokens is used, no id is shared. This check needs no copy of the vocabulary.
    let tokens = u32::try_from(model.get_vocab_size()).unwrap_or(u32::MAX);
    if (0..tokens).all(|id| model.id_to_token(id).is_some()) {
        return Ok(());
    }
    let vocabulary = model.get_vocab();
    let mut tokens: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (token, id) in &vocabulary {
        tokens.entry(*id).or_default().push(token);
    }
    tokens.retain(|_, tokens| tokens.len() > 1);
    if tokens.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = tokens
        .iter_mut()
        .take(SHOWN)
        .map(|(id, tokens)| {
            tokens.sort_unstable();
            tokens.truncate(SHOWN);
            let tokens: Vec<String> = tokens.iter().map(|token| format!("`{token}`")).collect();
            format!("{} have the same id `{id}`", tokens.join(" and "))
        })
        .collect();
    let message = format!("`model.vocab`: {}", shown.join("; "));
    Err(invalid(TOKENIZER, &message, "each token needs an id of its own"))
}
