//! Finds the start of a trained turn: after the generation prompt, as far as the turn really begins with it.
//!
//! The conversation before the turn is rendered with the generation prompt. If the text that this adds after the last
//! message also follows that message in the whole conversation, the turn starts after it. Some templates open a turn
//! differently from their generation prompt (`QwQ` and `DeepSeek` R1 write `<think>` only there). Then the turn starts
//! after the part that the generation prompt and the last such opening before the turn's text have in common.
//!
//! Turns with the same opening are analysed only once.

use std::collections::HashMap;

use super::{Conversation, Here, Sentinels, common_prefix};
use crate::row::Message;
use crate::template::{GenerationPrompt, value};
use crate::tokenizer::Encoded;

/// Known openings of turns.
///
/// Openings are the same if they agree apart from letters and digits: names and ids of calls may occur in them.
#[derive(Default)]
pub(super) struct Openings<'a>(HashMap<(&'a str, String), Split>);

/// A place in an opening: after this number of characters other than letters and digits, followed by this text.
struct Split {
    bones: usize,
    rest: String,
}

/// The characters of a text other than ASCII letters and digits, with their byte positions.
pub(super) fn bones(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.char_indices()
        .filter(|(_, letter)| !letter.is_ascii_alphanumeric())
}

impl Split {
    fn new(opening: &str, at: usize) -> Self {
        let (count, end) = bones(&opening[..at]).fold((0, 0), |(count, _), (at, letter)| {
            (count + 1, at + letter.len_utf8())
        });
        Self {
            bones: count,
            rest: opening[end..at].to_owned(),
        }
    }

    /// The same place in another opening.
    fn at(&self, opening: &str) -> Option<usize> {
        let end = match self.bones.checked_sub(1) {
            Some(last) => bones(opening)
                .nth(last)
                .map(|(at, letter)| at + letter.len_utf8())?,
            None => 0,
        };
        opening[end..]
            .starts_with(&self.rest)
            .then_some(end + self.rest.len())
    }
}

impl<'a> Conversation<'a> {
    /// The first byte of a turn whose text is at `here`.
    pub(super) fn start(
        &self,
        turn: usize,
        here: &Here,
        (text, sentinels, openings): (&str, &Sentinels, &mut Openings<'a>),
    ) -> Option<usize> {
        let from = here.before.map_or(0, |before| before.at);
        let opening = text.get(from..here.start)?;
        let role = here
            .before
            .map_or("", |before| self.messages[before.message].role());
        let key = (role, bones(opening).map(|(_, letter)| letter).collect());
        if let Some(at) = openings.0.get(&key).and_then(|split| split.at(opening)) {
            return Some(from + at);
        }
        let at = self.after_prompt(turn, here, opening, sentinels)?;
        openings.0.insert(key, Split::new(opening, at));
        Some(from + at)
    }

    /// The start of a turn within the opening, the text between the previous message's text and its own.
    fn after_prompt(&self, turn: usize, here: &Here, opening: &str, sentinels: &Sentinels) -> Option<usize> {
        let before = self.render(&sentinels.values[..turn], GenerationPrompt::Add).ok();
        if let Some(before) = before {
            let (before, marks) = sentinels.read(&before);
            let last = marks.last();
            let tail = &before[last.map_or(0, |mark| mark.at)..];
            if last.map(|mark| mark.message) == here.before.map(|mark| mark.message)
                && opening.starts_with(tail)
                && self.is_opened(turn, &before)
            {
                return Some(tail.len());
            }
        }
        self.after_opening(turn, opening)
    }

    /// Whether the text before a turn ends with the generation prompt. Without any message, a template may not write
    /// one.
    fn is_opened(&self, turn: usize, before: &str) -> bool {
        turn > 0
            || self
                .generation_prompt(turn)
                .is_none_or(|prompt| before.ends_with(&prompt))
    }

    /// The end of the conversation before a turn, with the generation prompt, if the whole conversation begins with
    /// that.
    pub(super) fn start_after_prompt(&self, turn: usize, text: &str) -> Option<usize> {
        let before = self.render(&self.values[..turn], GenerationPrompt::Add).ok()?;
        (text.starts_with(&before) && self.is_opened(turn, &before)).then_some(before.len())
    }

    /// The start of a turn after the last opening in `place`, which ends at the turn's text.
    pub(super) fn after_opening(&self, turn: usize, place: &str) -> Option<usize> {
        let prompt = self.generation_prompt(turn)?;
        if let Some(found) = place.rfind(&prompt) {
            return Some(found + prompt.len());
        }
        self.opened_otherwise(&prompt, place)
    }

    /// The start of a turn whose opening is only the beginning of the generation prompt: after the common part of the
    /// prompt and the last such opening in `place`. The common part must contain a special token, which distinguishes
    /// an opening from text that looks like one.
    fn opened_otherwise(&self, prompt: &str, place: &str) -> Option<usize> {
        let Encoded { ids, offsets } = self.tokenizer.encode(prompt).ok()?;
        let special = (ids.iter().zip(&offsets)).find(|(id, _)| self.tokenizer.is_special(**id));
        let (_, &(_, end)) = special?;
        let found = place.rfind(prompt.get(..end)?)?;
        Some(found + common_prefix(&place[found..], prompt))
    }

    /// The text with which the template opens a turn at this place.
    fn generation_prompt(&self, turn: usize) -> Option<String> {
        let opening = |values: &[minijinja::Value]| {
            let closed = self.render(values, GenerationPrompt::Omit).ok()?;
            let open = self.render(values, GenerationPrompt::Add).ok()?;
            // A template may end a complete conversation with a token that it leaves out before an open turn.
            let stem = common_prefix(&open, &closed);
            Some(open[stem..].to_owned())
        };
        let before = if turn > 0 {
            opening(&self.values[..turn])
        } else {
            None
        };
        before.or_else(|| opening(&[value(&Message::new("user", "a"))]))
    }
}
