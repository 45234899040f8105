//! Finds a turn that the trace does not locate, with a few additional renderings.
//!
//! The turn starts at the end of the conversation before it, if the whole conversation begins with that. Otherwise its
//! text is replaced by a character that occurs nowhere: the turn has not begun where both renderings are equal. It ends
//! with the first stop token after its text. To check whether the span contains text of other messages, their texts are
//! surrounded or replaced by such characters in further renderings.

use std::ops::Range;

use super::{Conversation, Sentinels, Shown, Span, common_prefix, holds_another, turn_at, unknown_start};
use crate::error::DataError;
use crate::template::{GenerationPrompt, value};

impl Conversation<'_> {
    /// The span of a turn; the previous turn ends at `previous`.
    pub(super) fn alone(
        &self,
        turn: usize,
        previous: usize,
        shown: &Shown,
        sentinels: Option<&Sentinels>,
    ) -> Result<Span, DataError> {
        let sentinels = sentinels.ok_or_else(|| holds_another(turn, None))?;
        self.check_shown(turn, sentinels, &shown.text)?;
        let start = self
            .start_after_prompt(turn, &shown.text)
            .or_else(|| self.start_before_change(turn, &shown.text, previous))
            .ok_or_else(|| unknown_start(turn))?;
        let limit = self.limit(turn, &shown.text);
        let stop = self
            .stop_after_content(turn, start, limit.unwrap_or(shown.text.len()), shown)
            .ok_or_else(|| self.no_stop(&turn_at(turn)))?;
        let span = self.span(turn, start, stop, &shown.encoded);
        if !self.is_own(&span, limit.is_some(), sentinels, &shown.text)? {
            return Err(holds_another(turn, None));
        }
        let own = &shown.text[start..shown.encoded.offsets[stop].0];
        if own.trim().is_empty() {
            return Err(self.shows_nothing(turn));
        }
        Ok(span)
    }

    /// Whether a span contains no text of another message. `is_bounded`: it is known to end before the next message.
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
        let (plain, marks) = sentinels.read(&others);
        if plain != text {
            return self.is_shown_without_others(span, sentinels, text);
        }
        let Range { start, end } = span.bytes;
        let first = marks.partition_point(|mark| mark.at <= start);
        let last = marks.partition_point(|mark| mark.at < end);
        let before = first.checked_sub(1).map(|index| marks[index].message);
        let after = marks.get(last).map(|mark| mark.message);
        // Between two marks of the same message is its text.
        let is_apart = first >= last && (before.is_none() || before != after);
        // A template may leave out the marks of a message that it shows.
        let mut is_told = vec![false; values.len()];
        marks.iter().for_each(|mark| is_told[mark.message] = true);
        let all_told = (span.turn + 1..values.len()).all(|next| is_told[next] || !sentinels.has_text(next));
        Ok(is_apart && (is_bounded || all_told))
    }

    /// Whether a span is unchanged if every other message has another text.
    fn is_shown_without_others(
        &self,
        span: &Span,
        sentinels: &Sentinels,
        text: &str,
    ) -> Result<bool, DataError> {
        let mut values: Vec<_> = (self.messages.iter())
            .map(|message| sentinels.replaced(message))
            .collect();
        values[span.turn] = self.values[span.turn].clone();
        let others = self.render(&values, GenerationPrompt::Omit)?;
        Ok(others.contains(&text[span.bytes.clone()]))
    }

    /// The end of the conversation up to and including a turn, if the whole conversation begins with that.
    fn limit(&self, turn: usize, text: &str) -> Option<usize> {
        if turn + 1 == self.values.len() {
            return Some(text.len());
        }
        let after = self.render(&self.values[..=turn], GenerationPrompt::Omit).ok()?;
        text.starts_with(&after).then_some(after.len())
    }

    /// The first byte of a turn, between the end of the previous turn and the first change caused by its text.
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

    /// The first stop token after a turn's text. A stop token spelled out within the text does not count.
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
