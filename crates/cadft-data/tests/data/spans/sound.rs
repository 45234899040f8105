//! The properties that the mask of every conversation must have, independent of how its turns were found.

use cadft_data::{Content, Example, Row, SpecialTokens, Tokenizer};

/// A word that occurs in only one message.
pub(super) struct Word {
    pub(super) message: usize,
    pub(super) text: String,
}

/// Checks the properties of every mask: trained text ends with a stop token, and contains text of one trained turn and
/// of no other message. Returns the turns that are trained.
pub(super) fn sound(
    words: &[Word],
    trained: &[usize],
    example: &Example,
    tokenizer: &Tokenizer,
) -> Result<Vec<usize>, String> {
    let decode = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Keep).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    for run in example.loss_mask.chunk_by(|a, b| a == b) {
        let ids = &example.token_ids[at..at + run.len()];
        at += run.len();
        if !run[0] {
            continue;
        }
        for part in ids.split_inclusive(|id| tokenizer.stop_token_ids().contains(id)) {
            let text = decode(part);
            let inside = words.iter().filter(|word| text.contains(&word.text));
            let mut turns: Vec<usize> = inside.map(|word| word.message).collect();
            turns.dedup();
            if let Some(other) = turns.iter().find(|turn| !trained.contains(turn)) {
                return Err(format!("text of message {other} is trained: `{text}`"));
            }
            if turns.len() > 1 {
                return Err(format!(
                    "text of messages {turns:?} before a stop token: `{text}`"
                ));
            }
            let ends = part
                .last()
                .is_some_and(|id| tokenizer.stop_token_ids().contains(id));
            if !ends && !text.trim().is_empty() {
                return Err(format!("no stop token after `{text}`"));
            }
            found.extend(turns);
        }
    }
    found.dedup();
    Ok(found)
}

/// Like [`sound`], for any conversation: uses the texts that occur in only one of its messages.
pub(crate) fn check(row: &Row, example: &Example, tokenizer: &Tokenizer) -> Result<(), String> {
    let Content::Messages { messages, .. } = &row.content else {
        return Err("no conversation".to_owned());
    };
    let texts: Vec<&str> = messages.iter().map(|message| message.content().trim()).collect();
    let is_own = |turn: &usize| {
        let others = texts.iter().enumerate().filter(|(other, _)| other != turn);
        !texts[*turn].is_empty() && others.into_iter().all(|(_, other)| !other.contains(texts[*turn]))
    };
    let words: Vec<Word> = (0..texts.len())
        .filter(is_own)
        .map(|message| Word {
            message,
            text: texts[message].to_owned(),
        })
        .collect();
    let trained: Vec<usize> = (0..messages.len())
        .filter(|&turn| messages[turn].is_trained())
        .collect();
    sound(&words, &trained, example, tokenizer).map(|_| ())
}
