//! A turn that a trace does not tell is looked for by itself, with a few renderings.
//!
//! It starts where the conversation before it ends, if the whole one begins like that. Else its text is replaced by a
//! character that occurs nowhere: up to where that changes the rendered text, the turn has not begun. It ends with the
//! first stop token after its text. What is found must stand unbroken in a rendering in which all other messages have
//! characters around their texts, else it holds some of these.

use super::{Conversation, Sentinels, Shown, Span, common_prefix, holds_another, turn_at, unknown_start};
use crate::error::DataError;
use crate::template::{GenerationPrompt, value};

impl Conversation<'_> {
    /// The span of a turn; the one before it ends at `previous`.
    pub(super) fn alone(
        &self,
        turn: usize,
        previous: usize,
        shown: &Shown,
        sentinels: Option<&Sentinels>,
    ) -> Result<Span, DataError> {
        let start = self
            .start_after_prompt(turn, &shown.text)
            .or_else(|| self.start_before_change(turn, &shown.text, previous))
            .ok_or_else(|| unknown_start(turn))?;
        let limit = self.limit(turn, &shown.text);
        let stop = self
            .stop_after_content(turn, start, limit.unwrap_or(shown.text.len()), shown)
            .ok_or_else(|| self.no_stop(&turn_at(turn)))?;
        let span = self.span(turn, start, stop, &shown.encoded);
        let sentinels = sentinels.ok_or_else(|| holds_another(turn, None))?;
        if !self.is_own(&span, limit.is_some(), sentinels, &shown.text)? {
            return Err(holds_another(turn, None));
        }
        let own = &shown.text[start..shown.encoded.offsets[stop].0];
        if own.trim().is_empty() {
            return Err(self.shows_nothing(turn));
        }
        Ok(span)
    }

    /// Whether a span holds no text of another message; `is_bounded` if it is known to end before the next one.
    fn is_own(
        &self,
        span: &Span,
        is_bounded: bool,
        sentinels: &Sentinels,
        text: &str,
    ) -> Result<bool, DataError> {
        let mut values = sentinels.values.clone();
        values[span.turn] = self.values[span.turn].clone();
        let others = self.render(&values, GenerationPrompt::Omit)?;
        // The characters of a message may be left out of what is shown of it.
        let (_, marks) = sentinels.read(&others);
        let mut is_told = vec![false; values.len()];
        marks.iter().for_each(|mark| is_told[mark.message] = true);
        let all_told = (span.turn + 1..values.len()).all(|next| is_told[next] || !sentinels.has_text(next));
        Ok((is_bounded || all_told) && others.contains(&text[span.bytes.clone()]))
    }

    /// Where the conversation up to and with a turn ends, if the whole one begins like that.
    fn limit(&self, turn: usize, text: &str) -> Option<usize> {
        if turn + 1 == self.values.len() {
            return Some(text.len());
        }
        let after = self.render(&self.values[..=turn], GenerationPrompt::Omit).ok()?;
        text.starts_with(&after).then_some(after.len())
    }

    /// The byte at which a turn starts, looked for between the turn before it and where its text changes things.
    fn start_before_change(&self, turn: usize, text: &str, previous: usize) -> Option<usize> {
        let marker = ('\u{E000}'..='\u{F8FF}').find(|&marker| !text.contains(marker))?;
        let mut values = self.values.clone();
        values[turn] = value(&self.messages[turn].with_content(&marker.to_string()));
        let marked = self.render(&values, GenerationPrompt::Omit).ok()?;
        let changed = common_prefix(text, &marked);
        if changed == text.len() && changed == marked.len() {
            return None;
        }
        let found = self.after_opening(turn, text.get(previous..changed)?)?;
        Some(previous + found)
    }

    /// The first stop token after a turn's text. One that the text itself spells out does not end it.
    fn stop_after_content(&self, turn: usize, start: usize, limit: usize, shown: &Shown) -> Option<usize> {
        let content = self.messages[turn].content().trim();
        let end = shown
            .text
            .get(start..limit)?
            .find(content)
            .map_or(start, |found| start + found + content.len());
        self.first_stop(end, limit, &shown.encoded)
    }
}
