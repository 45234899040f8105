//! Turns tokens into text while they are generated: finds stop texts, and streams.

use anyhow::Result;
use cadft_data::{SpecialTokens, Tokenizer};
use std::ops::ControlFlow;

/// The text of one answer so far.
pub(crate) struct AnswerText<'a> {
    tokenizer: &'a Tokenizer,
    /// Texts that end the answer.
    stops: &'a [String],
    token_ids: Vec<u32>,
    /// The text, without the stop text that ended it.
    text: String,
    /// Number of bytes that were shown.
    shown: usize,
}

impl<'a> AnswerText<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        Self {
            tokenizer,
            stops,
            token_ids: vec![],
            text: String::new(),
            shown: 0,
        }
    }

    /// Appends a token. Breaks if the text now contains a stop text.
    pub(crate) fn push(&mut self, token: u32) -> Result<ControlFlow<()>> {
        self.token_ids.push(token);
        self.text = self.tokenizer.decode(&self.token_ids, SpecialTokens::Skip)?;
        let stop = self.stops.iter().filter_map(|stop| self.text.find(stop)).min();
        Ok(match stop {
            Some(at) => {
                self.text.truncate(at);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        })
    }

    /// The text that became showable since the last call. Held back are an incomplete character and what may be the
    /// beginning of a stop text.
    pub(crate) fn news(&mut self) -> String {
        let complete = self.text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        let held_back = self.stops.iter().map(|stop| overlap(&self.text, stop)).max();
        let until = complete.min(self.text.len() - held_back.unwrap_or(0));
        self.show(until)
    }

    /// The text that was not shown yet. Called once the answer has ended.
    pub(crate) fn rest(&mut self) -> String {
        self.show(self.text.len())
    }

    /// The whole answer.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn show(&mut self, until: usize) -> String {
        let piece = self.text.get(self.shown..until).unwrap_or_default().to_owned();
        self.shown += piece.len();
        piece
    }
}

/// Length in bytes of the longest end of `text` that is a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .filter(|&at| text.ends_with(&stop[..at]))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_stop_is_held_back() {
        assert_eq!(overlap("one \n", "\n\n"), 1);
        assert_eq!(overlap("one", "\n\n"), 0);
        assert_eq!(overlap("Use", "User:"), 3);
        assert_eq!(overlap("", "User:"), 0);
    }
}
