//! Shows which tokens of an example are trained.

use cadft_batch::Example;
use schemars::JsonSchema;
use serde::Serialize;

use crate::tokenizer::{SpecialTokens, Tokenizer};

/// One token of an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InspectedToken {
    /// The token id.
    pub id: u32,
    /// The text that the token adds. All pieces together are the text of the example. A token that ends within a
    /// character has an empty piece, and the token that completes the character has the whole character.
    pub text: String,
    /// Whether the token is a target.
    pub trained: bool,
    /// Whether it is a special token.
    pub special: bool,
}

/// Every token of an example with its text.
pub fn inspect(example: &Example, tokenizer: &Tokenizer) -> Vec<InspectedToken> {
    let decode = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Keep).unwrap_or_default();
    let mut stream = tokenizer.inner().decode_stream(false);
    let mut tokens = Vec::with_capacity(example.token_ids.len());
    let mut shown = 0;
    for (&id, &trained) in example.token_ids.iter().zip(&example.loss_mask) {
        let text = stream
            .step(id)
            .unwrap_or_else(|_| Some(decode(&[id])))
            .unwrap_or_default();
        shown += text.len();
        tokens.push(InspectedToken {
            id,
            text,
            trained,
            special: tokenizer.is_special(id),
        });
    }
    // Bytes of an incomplete character at the end are added to the last token.
    let whole = decode(&example.token_ids);
    if let (Some(last), Some(rest)) = (tokens.last_mut(), whole.get(shown..)) {
        last.text.push_str(rest);
    }
    tokens
}
