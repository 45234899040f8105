//! Finds the token with which a chat template ends a turn.

use super::Tokenizer;
use crate::row::Message;
use crate::template::GenerationPrompt;

/// A private use character, to locate a message in a rendered text.
const MARKER: char = '\u{F8FF}';

impl Tokenizer {
    /// The special token after an assistant's text in the chat template, if the end of a turn contains no declared stop
    /// token. Some models declare another end of sequence than the one that ends their turns. A token that is trained
    /// as an end must also stop generation.
    pub(super) fn turn_end(&self) -> Option<u32> {
        let answer = MARKER.to_string();
        let messages = [
            Message::new("user", "a"),
            Message::new("assistant", &answer),
            Message::new("user", "b"),
        ];
        let template = self.templates.as_ref()?.default();
        let after = |messages: &[Message]| {
            let text = template.render(messages, &[], GenerationPrompt::Omit).ok()?;
            Some(text.rsplit_once(MARKER)?.1.to_owned())
        };
        let end = after(&messages[..2])?;
        // A token that a template writes only after the last turn (Phi 3: an end of sequence) does not end other turns.
        let next = after(&messages).unwrap_or_else(|| end.clone());
        let shared = end
            .char_indices()
            .zip(next.chars())
            .take_while(|((_, a), b)| a == b);
        let shared = shared.map(|((at, c), _)| at + c.len_utf8()).last().unwrap_or(0);
        let ids = self.encode_plain(&end[..shared]).ok()?;
        if ids.iter().any(|id| self.stop.contains(id)) {
            return None;
        }
        let first_special = |ids: Vec<u32>| ids.into_iter().find(|&id| self.is_special(id));
        first_special(ids).or_else(|| first_special(self.encode_plain(&end).ok()?))
    }
}
