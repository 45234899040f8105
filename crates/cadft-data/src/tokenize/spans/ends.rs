//! Finds the end of a trained turn: the first stop token after its text, if it belongs to the turn.
//!
//! Between the text and the stop token, a template writes a closing, such as the brackets of a call. If the closing is
//! more than whitespace, the conversation up to this turn must have the same closing. Otherwise the stop token may
//! belong to what the template writes before the next message.

use std::collections::HashSet;

use super::starts::bones;
use super::{Conversation, Here, Sentinels, Shown, Span, common_prefix, turn_at};
use crate::error::DataError;
use crate::template::GenerationPrompt;

/// Known closings of turns, without letters and digits, which may be those of a call.
#[derive(Default)]
pub(super) struct Closings(HashSet<String>);

impl Conversation<'_> {
    /// The span of a turn that begins at `start` and whose text is at `here`.
    pub(super) fn end(
        &self,
        turn: usize,
        start: usize,
        here: &Here,
        (shown, sentinels, closings): (&Shown, &Sentinels, &mut Closings),
    ) -> Result<Span, DataError> {
        let no_stop = || self.no_stop(&turn_at(turn));
        let stop = self
            .first_stop(here.end, here.limit, &shown.encoded)
            .ok_or_else(no_stop)?;
        let (from, to) = shown.encoded.offsets[stop];
        let closing = &shown.text[here.end..from];
        if !closing.trim().is_empty() {
            let key: String = bones(closing).map(|(_, letter)| letter).collect();
            if !closings.0.contains(&key) {
                if !self.closes(turn, &shown.text[here.end..here.limit], to - here.end, sentinels) {
                    return Err(no_stop());
                }
                closings.0.insert(key);
            }
        }
        Ok(self.span(turn, start, stop, &shown.encoded))
    }

    /// Whether the first `length` bytes after a turn's text also close it if it is the last turn.
    fn closes(&self, turn: usize, follows: &str, length: usize, sentinels: &Sentinels) -> bool {
        let Ok(closed) = self.render(&sentinels.values[..=turn], GenerationPrompt::Omit) else {
            // A template may refuse a conversation that ends with a call. A header would contain a special token.
            let ids = self
                .tokenizer
                .encode_plain(&follows[..length])
                .unwrap_or_default();
            let special = ids.iter().filter(|&&id| self.tokenizer.is_special(id)).count();
            return special == 1;
        };
        let (closed, marks) = sentinels.read(&closed);
        marks
            .last()
            .is_some_and(|last| last.message == turn && common_prefix(&closed[last.at..], follows) >= length)
    }
}
