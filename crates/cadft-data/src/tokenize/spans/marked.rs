//! Trained turns of a template that marks generated text.
//!
//! A marked place is trained if it belongs to a trained turn: the turn whose text is in it or before it. The last
//! marked place of each turn must end with a stop token, apart from whitespace.

use std::ops::Range;

use super::trace::MARK_BYTES;
use super::{Conversation, Sentinels, Shown, Span, Trace, holds_another};
use crate::error::DataError;
use crate::template::GenerationPrompt;
use crate::tokenize::first_trained;
use crate::tokenizer::Encoded;

/// A marked place, or the part of it that belongs to one turn.
struct Piece {
    /// The turn; `None` if no text of an assistant's turn is in it or next to it.
    turn: Option<usize>,
    bytes: Range<usize>,
    /// Whether it contains text of the turn.
    has_text: bool,
}

impl Conversation<'_> {
    /// The spans of these turns.
    pub(super) fn marked(&self, turns: &[usize], shown: &Shown) -> Result<Vec<Span>, DataError> {
        let is_assistant = |turn: &usize| self.messages[*turn].is_assistant();
        let assistants: Vec<usize> = (0..self.messages.len()).filter(is_assistant).collect();
        let is_trained = |turn: Option<usize>| match turn {
            Some(turn) => turns.binary_search(&turn).is_ok(),
            None => turns == assistants,
        };
        let paired = (shown.generated.len() == assistants.len()).then(|| {
            let pairs = assistants.iter().zip(&shown.generated);
            pairs.filter(|(turn, _)| is_trained(Some(**turn)))
        });
        if let Some(pairs) = paired.clone() {
            let plain = pairs.map(|(turn, place)| self.plain_place(*turn, place, shown));
            if let Some(spans) = plain.collect() {
                return Ok(spans);
            }
        }
        let Some(sentinels) = Sentinels::new(self.messages, &shown.text) else {
            return Err(holds_another(turns[0], None));
        };
        let traced = self.trace_marked(&sentinels, shown);
        if let Some((trace, _)) = &traced {
            for &turn in turns.iter().filter(|turn| !trace.shows(**turn)) {
                self.check_shown(turn, &sentinels, &shown.text)?;
            }
        }
        let traced = traced.filter(|(trace, _)| turns.iter().all(|turn| trace.shows(*turn)));
        if let Some((trace, inside)) = traced {
            let pieces = self.pieces(&trace, &inside, shown)?;
            check_text(turns, &pieces)?;
            let trained = pieces.into_iter().filter(|piece| is_trained(piece.turn));
            let spans = self.trained_pieces(trained.collect(), shown)?;
            self.check(&spans, Some(&trace))?;
            return Ok(spans);
        }
        let Some(pairs) = paired else {
            return Err(holds_another(turns[0], None));
        };
        let pieces: Vec<_> = pairs
            .map(|(turn, place)| Piece {
                turn: Some(*turn),
                bytes: place.clone(),
                has_text: true,
            })
            .collect();
        self.check_untraced(&assistants, &pieces, (&sentinels, shown))?;
        for &turn in turns {
            self.check_shown(turn, &sentinels, &shown.text)?;
        }
        self.trained_pieces(pieces, shown)
    }

    /// The span of a place that contains only a turn's text and its stop token.
    fn plain_place(&self, turn: usize, place: &Range<usize>, shown: &Shown) -> Option<Span> {
        let content = self.messages[turn].content().trim();
        let rest = shown.text[place.clone()]
            .trim_start()
            .strip_prefix(content)
            .filter(|_| !content.is_empty())?;
        let end = place.end - rest.len();
        let tokens = self.tokens_of(place, &shown.encoded);
        let stop = self.last_stop(place, &tokens, shown)?;
        let closing = shown.text.get(end..shown.encoded.offsets[stop].0)?;
        closing.trim().is_empty().then(|| Span {
            turn,
            bytes: place.clone(),
            tokens,
        })
    }

    /// The trace of the messages' texts and, for each marked place, the marks in it; `None` if the marks change what
    /// the template marks as generated.
    fn trace_marked(&self, sentinels: &Sentinels, shown: &Shown) -> Option<(Trace, Vec<Range<usize>>)> {
        let rendered = self
            .render_marked(&sentinels.values, GenerationPrompt::Omit)
            .ok()?;
        let trace = Trace::new(sentinels, &rendered.text, &shown.text)?;
        let before = |at: usize| trace.marks.partition_point(|mark| mark.raw < at);
        let inside: Vec<_> = (rendered.generated.iter())
            .map(|place| before(place.start)..before(place.end))
            .collect();
        let is_same = rendered.generated.len() == shown.generated.len()
            && (rendered.generated.iter().zip(&shown.generated).zip(&inside)).all(|((raw, place), marks)| {
                raw.start - MARK_BYTES * marks.start == place.start
                    && raw.end - MARK_BYTES * marks.end == place.end
            });
        is_same.then_some((trace, inside))
    }

    /// The marked places, split between turns, each with its turn.
    fn pieces(&self, trace: &Trace, inside: &[Range<usize>], shown: &Shown) -> Result<Vec<Piece>, DataError> {
        let mut pieces = Vec::with_capacity(inside.len());
        let is_assistant = |turn: &usize| self.messages[*turn].is_assistant();
        for (place, marks) in shown.generated.iter().zip(inside) {
            let mut start = place.start;
            let inside = &trace.marks[marks.clone()];
            if let Some(other) = inside.iter().find(|mark| !is_assistant(&mark.message)) {
                return Err(self.marks_another(place, other.message, shown));
            }
            for pair in inside
                .windows(2)
                .filter(|pair| pair[0].message != pair[1].message)
            {
                let (own, next) = (pair[0], pair[1]);
                let stop = self.first_stop(own.at, next.at, &shown.encoded);
                let stop = stop.ok_or_else(|| holds_another(own.message, Some(next.message)))?;
                let end = shown.encoded.offsets[stop].1;
                pieces.push(Piece {
                    turn: Some(own.message),
                    bytes: start..end,
                    has_text: true,
                });
                start = end;
            }
            let of = |index: Option<usize>| Some(trace.marks.get(index?)?.message).filter(is_assistant);
            let near = || of(marks.start.checked_sub(1)).or_else(|| of(Some(marks.start)));
            pieces.push(Piece {
                turn: inside.last().map(|mark| mark.message).or_else(near),
                bytes: start..place.end,
                has_text: !inside.is_empty(),
            });
        }
        Ok(pieces)
    }

    /// Checks that trained places contain no text of another message. Without a trace, this is done with renderings in
    /// which the other messages' texts are surrounded by special characters. A pair of renderings distinguishes the
    /// turns whose numbers differ in one binary digit.
    fn check_untraced(
        &self,
        assistants: &[usize],
        pieces: &[Piece],
        (sentinels, shown): (&Sentinels, &Shown),
    ) -> Result<(), DataError> {
        let turns: Vec<Option<usize>> = pieces.iter().map(|piece| piece.turn).collect();
        let digits = usize::BITS - turns.len().saturating_sub(1).leading_zeros();
        for (digit, value) in (0..digits.max(1)).flat_map(|digit| [(digit, 0), (digit, 1)]) {
            let is_of = |number: usize| number >> digit & 1 == value;
            let values: Vec<_> = (0..self.messages.len())
                .map(|message| {
                    let number = turns.binary_search(&Some(message)).ok();
                    match number.is_some_and(is_of) {
                        true => self.values[message].clone(),
                        false => sentinels.values[message].clone(),
                    }
                })
                .collect();
            let rendered = self.render_marked(&values, GenerationPrompt::Omit)?;
            let (_, marks) = sentinels.read(&rendered.text);
            let places = assistants.iter().zip(&rendered.generated);
            let mixed = places.into_iter().find(|(assistant, place)| {
                let number = turns.binary_search(&Some(**assistant)).ok();
                number.is_some_and(is_of) && marks.iter().any(|mark| place.contains(&mark.raw))
            });
            if let Some((turn, _)) = mixed {
                return Err(holds_another(*turn, None));
            }
            if rendered.generated.len() != shown.generated.len() {
                return Err(holds_another(assistants[0], None));
            }
        }
        Ok(())
    }

    /// The spans of pieces. The pieces of a turn must be consecutive, and the last one must end with a stop token.
    fn trained_pieces(&self, pieces: Vec<Piece>, shown: &Shown) -> Result<Vec<Span>, DataError> {
        let mut spans = Vec::with_capacity(pieces.len());
        let mut pieces = pieces.into_iter().peekable();
        while let Some(Piece { turn, bytes, .. }) = pieces.next() {
            let tokens = self.tokens_of(&bytes, &shown.encoded);
            let is_last = turn.is_none() || pieces.peek().is_none_or(|next| next.turn != turn);
            if is_last && self.last_stop(&bytes, &tokens, shown).is_none() {
                let words: String = shown.text[bytes].chars().take(40).collect();
                return Err(self.no_stop(&format!("what the chat template marks as generated (`{words}`…)")));
            }
            if !tokens.is_empty() {
                let turn = turn.unwrap_or_default();
                spans.push(Span { turn, bytes, tokens });
            }
        }
        Ok(spans)
    }

    fn tokens_of(&self, place: &Range<usize>, encoded: &Encoded) -> Range<usize> {
        let first = first_trained(encoded, place.start, self.tokenizer);
        let mut end = encoded.offsets.partition_point(|&(start, _)| start < place.end);
        // An added token that includes whitespace on its left belongs to the following text.
        let is_next = |index: usize| {
            let (start, end) = encoded.offsets[index];
            start < place.end && end > place.end && self.tokenizer.is_added(encoded.ids[index])
        };
        if end > first && is_next(end - 1) {
            end -= 1;
        }
        first..end.max(first)
    }

    /// The last stop token of a place, if only whitespace follows it there.
    fn last_stop(&self, place: &Range<usize>, tokens: &Range<usize>, shown: &Shown) -> Option<usize> {
        let Encoded { ids, offsets } = &shown.encoded;
        let stops = self.tokenizer.stop_token_ids();
        let stop = tokens.clone().rfind(|&index| stops.contains(&ids[index]))?;
        let rest = &shown.text[offsets[stop].1.min(place.end)..place.end];
        rest.trim().is_empty().then_some(stop)
    }

    fn marks_another(&self, place: &Range<usize>, other: usize, shown: &Shown) -> DataError {
        let words: String = shown.text[place.clone()].chars().take(40).collect();
        let role = self.messages[other].role();
        DataError::Conversation {
            message: format!(
                "what the chat template marks as generated (`{words}`…) holds text of `messages[{other}]`, a turn of \
                 `{role}`"
            ),
            hint: "put `{% endgeneration %}` before what the model does not write".to_owned(),
        }
    }
}

/// Checks that the marked places of each trained turn contain some of its text.
fn check_text(turns: &[usize], pieces: &[Piece]) -> Result<(), DataError> {
    for piece in pieces.chunk_by(|a, b| a.turn == b.turn) {
        let Some(turn) = piece[0].turn.filter(|turn| turns.contains(turn)) else {
            continue;
        };
        if !piece.iter().any(|piece| piece.has_text) {
            return Err(DataError::Conversation {
                message: format!(
                    "`messages[{turn}]`: the chat template marks nothing of this turn's text as generated"
                ),
                hint: "put `{% generation %}` before what the model is to write".to_owned(),
            });
        }
    }
    Ok(())
}
