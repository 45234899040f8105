//! A prompt with a hint: what a model continues from that is to answer with help.

use crate::error::DataError;
use crate::row::{Content, Message, Row};
use crate::tokenize::prompt_ids;
use crate::tokenizer::Tokenizer;

/// As [`prompt_ids`], with `hint` after the last text of a user before the answer, or after the prompt. `None` where there is none.
///
/// # Errors
/// As [`prompt_ids`].
pub fn hinted_prompt_ids(
    row: &Row,
    tokenizer: &Tokenizer,
    hint: &str,
) -> Result<Option<Vec<u32>>, DataError> {
    let mut row = row.clone();
    match &mut row.content {
        Content::Messages {
            messages,
            trained_from,
            ..
        } => {
            let end = trained_from.unwrap_or(messages.len()).min(messages.len());
            let says = |turn: &&mut Message| turn.role() == "user" && !turn.content().is_empty();
            let Some(turn) = messages[..end].iter_mut().rfind(says) else {
                return Ok(None);
            };
            *turn = turn.with_content(&format!("{}{hint}", turn.content()));
        }
        Content::PromptCompletion { prompt, .. } => prompt.push_str(hint),
        Content::Text(_) => return Ok(None),
    }
    prompt_ids(&row, tokenizer).map(Some)
}
