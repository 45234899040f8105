//! The turns of a conversation that a mask trains.

use super::Mask;
use crate::error::DataError;
use crate::row::{Content, Message, Row, UnclearFlag, flag};

/// The assistant turns that a mask selects; `None` if it selects every token. Turns that a field such as
/// `"train": false` excludes are context; the last turn is the last of the remaining ones.
pub(super) fn trained_turns(
    messages: &[Message],
    trained_from: Option<usize>,
    mask: Mask,
) -> Result<Option<Vec<usize>>, DataError> {
    let mut turns = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let said =
            flag(message.fields()).map_err(|UnclearFlag { key, message }| wrong(index, key, &message))?;
        match said {
            Some((key, false)) if mask == Mask::All && (key != "weight" || message.is_assistant()) => {
                return Err(wrong(index, key, "the mask `all` trains every token"));
            }
            // OpenAI's weights also occur in other turns, where they have no meaning.
            Some((key, true)) if mask != Mask::All && key != "weight" && !message.is_assistant() => {
                let role = message.role();
                let message = format!("only assistant turns can be trained, this one is of `{role}`");
                return Err(wrong(index, key, &message));
            }
            _ => {}
        }
        let is_out = matches!(said, Some((_, false)));
        if message.is_assistant() && !is_out && index >= trained_from.unwrap_or(0) {
            turns.push(index);
        }
    }
    let last = || turns.last().copied().into_iter().collect();
    Ok(match mask {
        Mask::All => None,
        Mask::Completion if trained_from.is_none() => Some(last()),
        Mask::LastTurn => Some(last()),
        Mask::Assistant | Mask::Completion => Some(turns),
    })
}

/// Checks that a row has something to train, as far as this is known without a tokenizer.
///
/// # Errors
/// [`DataError::Conversation`] if a turn has an unclear training flag, or if no turn of a conversation is trained.
pub(super) fn check_turns(row: &Row, mask: Mask) -> Result<(), DataError> {
    let Content::Messages {
        messages,
        trained_from,
        ..
    } = &row.content
    else {
        return Ok(());
    };
    let turns = trained_turns(messages, *trained_from, mask)?;
    if turns.is_none_or(|turns| !turns.is_empty()) {
        return Ok(());
    }
    let from = trained_from.unwrap_or(0);
    let message = if messages[from.min(messages.len())..]
        .iter()
        .any(Message::is_assistant)
    {
        "nothing to train: every assistant turn is taken out of training"
    } else {
        "nothing to train: the conversation has no assistant turn"
    };
    Err(DataError::Conversation {
        message: message.to_owned(),
        hint: "training leaves such a row out; add the answer, or remove the row".to_owned(),
    })
}

fn wrong(turn: usize, key: &str, message: &str) -> DataError {
    DataError::Conversation {
        message: format!("`messages[{turn}].{key}`: {message}"),
        hint: "`\"train\": false` in an assistant turn makes it context under the other masks".to_owned(),
    }
}
