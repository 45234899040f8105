//! Finds the trained turns of a conversation in its rendered text.
//!
//! If the template marks generated text (`{% generation %}`), the marked places are trained (`marked`). Otherwise a
//! turn starts after the opening that the template writes between the text before the turn and the turn itself
//! (`starts`). It ends with the first stop token after its own text (`ends`). One additional rendering locates the
//! messages' texts (`trace`). A turn that it does not locate is searched for separately (`alone`).
//!
//! Spans of turns are disjoint and in order, and contain no text of another message. A conversation for which this
//! cannot be guaranteed is refused.

mod alone;
mod ends;
mod marked;
mod starts;
mod trace;

use std::cell::Cell;
use std::ops::Range;

use minijinja::Value;
use serde_json::Map;

use super::first_trained;
use super::lost::{Part, lost};
use crate::error::DataError;
use crate::row::Message;
use crate::template::{GenerationPrompt, Rendered, RowTemplate, values};
use crate::tokenizer::{Encoded, Tokenizer};
use ends::Closings;
use starts::Openings;
use trace::{Here, Place, Sentinels, Trace};

/// Largest number of renderings of one conversation. If every turn needs its own renderings, a long conversation would
/// take quadratic time, so it is refused.
const MOST_RENDERINGS: usize = 2048;

/// A conversation with a tokenizer's chat template.
pub(super) struct Conversation<'a> {
    messages: &'a [Message],
    values: Vec<Value>,
    tools: &'a [serde_json::Value],
    tokenizer: &'a Tokenizer,
    template: RowTemplate<'a>,
    renderings: Cell<usize>,
}

/// The ids of a conversation, its loss mask, and the parts that are not shown.
pub(super) struct Masked {
    pub(super) ids: Vec<u32>,
    pub(super) mask: Vec<bool>,
    pub(super) lost: Vec<Part>,
}

/// A rendered conversation.
struct Shown {
    text: String,
    generated: Vec<Range<usize>>,
    encoded: Encoded,
}

/// The place of a trained turn, including its stop token.
struct Span {
    turn: usize,
    bytes: Range<usize>,
    tokens: Range<usize>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        messages: &'a [Message],
        tools: &'a [serde_json::Value],
        variables: &'a Map<String, serde_json::Value>,
        tokenizer: &'a Tokenizer,
    ) -> Result<Self, DataError> {
        let template = tokenizer.row_template(tools, variables)?;
        Ok(Self {
            messages,
            values: values(messages),
            tools,
            tokenizer,
            template,
            renderings: Cell::new(0),
        })
    }

    /// The ids and the mask of the whole conversation; `turns` are trained, or all tokens if it is `None`.
    pub(super) fn tokenize(&self, turns: Option<&[usize]>) -> Result<Masked, DataError> {
        let Rendered { text, generated } = self.render_marked(&self.values, GenerationPrompt::Omit)?;
        let encoded = self.tokenizer.encode(&text)?;
        let shown = Shown {
            text,
            generated,
            encoded,
        };
        let mut mask = vec![turns.is_none(); shown.encoded.ids.len()];
        for span in self.spans(turns.unwrap_or_default(), &shown)? {
            mask[span.tokens].fill(true);
        }
        let render = |messages: &[Message], tools: &[serde_json::Value]| {
            let values = values(messages);
            let rendered = self
                .template
                .render_values(&values, tools, GenerationPrompt::Omit);
            rendered.ok()
        };
        Ok(Masked {
            lost: lost(self.messages, self.tools, &shown.text, render),
            ids: shown.encoded.ids,
            mask,
        })
    }

    fn spans(&self, turns: &[usize], shown: &Shown) -> Result<Vec<Span>, DataError> {
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        if !shown.generated.is_empty() {
            return self.marked(turns, shown);
        }
        if let Some(span) = self.plain_end(turns, shown) {
            return Ok(vec![span]);
        }
        let sentinels = Sentinels::new(self.messages, &shown.text);
        let trace = sentinels.as_ref().and_then(|sentinels| {
            let marked = self.render(&sentinels.values, GenerationPrompt::Omit).ok()?;
            Trace::new(sentinels, &marked, &shown.text)
        });
        let mut openings = Openings::default();
        let mut closings = Closings::default();
        let mut spans: Vec<Span> = Vec::with_capacity(turns.len());
        for &turn in turns {
            let place = match (&trace, &sentinels) {
                (Some(trace), Some(sentinels)) if sentinels.has_text(turn) => {
                    Some((trace.place(turn, shown.text.len()), sentinels))
                }
                _ => None,
            };
            let span = match place {
                Some((Place::Here(here), sentinels)) => {
                    let start = self.start(turn, &here, (&shown.text, sentinels, &mut openings));
                    let start = start.ok_or_else(|| unknown_start(turn))?;
                    self.end(turn, start, &here, (shown, sentinels, &mut closings))?
                }
                Some((Place::Nowhere | Place::Scattered, _)) | None => {
                    let previous = spans.last().map_or(0, |span| span.bytes.end);
                    self.alone(turn, previous, shown, sentinels.as_ref())?
                }
            };
            spans.push(span);
        }
        self.check(&spans, trace.as_ref())?;
        Ok(spans)
    }

    /// The span of a single trained turn at the end of the conversation, if it contains only its own text and its stop
    /// token. This is the usual case, and needs no trace.
    fn plain_end(&self, turns: &[usize], shown: &Shown) -> Option<Span> {
        let &[turn] = turns else { return None };
        if turn + 1 != self.messages.len() {
            return None;
        }
        let start = self.start_after_prompt(turn, &shown.text)?;
        let content = self.messages[turn].content().trim();
        let rest = shown.text[start..]
            .trim_start()
            .strip_prefix(content)
            .filter(|_| !content.is_empty())?;
        let end = shown.text.len() - rest.len();
        let stop = self.first_stop(end, shown.text.len(), &shown.encoded)?;
        let closing = &shown.text[end..shown.encoded.offsets[stop].0];
        closing
            .trim()
            .is_empty()
            .then(|| self.span(turn, start, stop, &shown.encoded))
    }

    fn span(&self, turn: usize, start: usize, stop: usize, encoded: &Encoded) -> Span {
        Span {
            turn,
            bytes: start..encoded.offsets[stop].1,
            tokens: first_trained(encoded, start, self.tokenizer)..stop + 1,
        }
    }

    /// The first stop token between two byte positions.
    fn first_stop(&self, from: usize, to: usize, encoded: &Encoded) -> Option<usize> {
        let stops = self.tokenizer.stop_token_ids();
        let first = encoded.offsets.partition_point(|&(start, _)| start < from);
        (first..encoded.ids.len())
            .take_while(|&index| encoded.offsets[index].1 <= to)
            .find(|&index| stops.contains(&encoded.ids[index]))
    }

    /// Checks that spans are in order, do not overlap, contain no text of other messages and some text of their own
    /// turn.
    fn check(&self, spans: &[Span], trace: Option<&Trace>) -> Result<(), DataError> {
        let mut marks = trace.map_or(&[][..], |trace| &trace.marks[..]);
        let mut previous = (0, 0);
        for span in spans {
            if span.bytes.start < previous.0 || span.tokens.start < previous.1 || span.tokens.is_empty() {
                return Err(unknown_start(span.turn));
            }
            previous = (span.bytes.end, span.tokens.end);
            let before = marks.partition_point(|mark| mark.at < span.bytes.start);
            marks = &marks[before..];
            let inside = marks.iter().take_while(|mark| mark.at < span.bytes.end);
            // The text before a turn may end where the turn starts.
            let other = inside
                .filter(|mark| mark.at > span.bytes.start)
                .find(|mark| mark.message != span.turn);
            if let Some(other) = other {
                return Err(holds_another(span.turn, Some(other.message)));
            }
        }
        Ok(())
    }

    /// Checks without a trace that some text of a turn is shown; a template may show only the middle of a text.
    fn check_shown(&self, turn: usize, sentinels: &Sentinels, text: &str) -> Result<(), DataError> {
        if self.renderings.get() > MOST_RENDERINGS {
            return Err(too_many_renderings());
        }
        let mut values = self.values.clone();
        values[turn] = sentinels.replaced(&self.messages[turn]);
        match self.render(&values, GenerationPrompt::Omit) {
            Ok(replaced) if replaced == text => Err(self.shows_nothing(turn)),
            _ => Ok(()),
        }
    }

    fn render(&self, values: &[Value], prompt: GenerationPrompt) -> Result<String, DataError> {
        Ok(self.render_marked(values, prompt)?.text)
    }

    fn render_marked(&self, values: &[Value], prompt: GenerationPrompt) -> Result<Rendered, DataError> {
        self.renderings.set(self.renderings.get() + 1);
        self.template.render_marked(values, self.tools, prompt)
    }

    fn no_stop(&self, what: &str) -> DataError {
        let stops = self.tokenizer.stop_token_ids().iter();
        let stops: Vec<_> = stops
            .filter_map(|&id| self.tokenizer.token(id))
            .map(|token| format!("`{token}`"))
            .collect();
        let stops = if stops.is_empty() {
            "none known".to_owned()
        } else {
            stops.join(", ")
        };
        DataError::Conversation {
            message: format!("{what} does not end with a stop token ({stops})"),
            hint: "a model trained on this never stops; the chat template must end every assistant turn, before the \
                   next message, with `eos_token`, or with an `eos_token_id` of `generation_config.json`. Where it \
                   ends the last turn so, the mask `last-turn` can be trained"
                .to_owned(),
        }
    }

    fn shows_nothing(&self, turn: usize) -> DataError {
        let fields = self.messages[turn].fields();
        let calls = ["tool_calls", "function_call"]
            .into_iter()
            .find(|key| fields.get(*key).is_some_and(|value| !value.is_null()));
        let what = calls.map_or("text".to_owned(), |key| format!("`{key}`"));
        DataError::Conversation {
            message: format!(
                "`messages[{turn}]`: the chat template does not show the {what} of this turn; the model would learn an \
                 empty answer"
            ),
            hint:
                "use a chat template that shows it, or take the turn out of training with `\"train\": false`"
                    .to_owned(),
        }
    }
}

/// Length in bytes of the common prefix of two texts, in whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|&at| a.is_char_boundary(at)).unwrap_or(0)
}

fn too_many_renderings() -> DataError {
    DataError::Conversation {
        message: format!("the turns are not found after {MOST_RENDERINGS} renderings of the conversation"),
        hint: "split the conversation, or use a chat template that marks what is generated with `{% generation %}`"
            .to_owned(),
    }
}

fn turn_at(turn: usize) -> String {
    format!("`messages[{turn}]`: the assistant turn")
}

fn holds_another(turn: usize, other: Option<usize>) -> DataError {
    let other = other.map_or("another message".to_owned(), |other| {
        format!("`messages[{other}]`")
    });
    DataError::Conversation {
        message: format!("{} cannot be told from the text of {other}", turn_at(turn)),
        hint: "the chat template writes one into the other; use one that does not, or train on `prompt` and \
               `completion`"
            .to_owned(),
    }
}

fn unknown_start(turn: usize) -> DataError {
    DataError::Conversation {
        message: format!(
            "{} cannot be found in the rendered conversation",
            turn_at(turn)
        ),
        hint: "the chat template opens it differently from the generation prompt it gives; put a template into \
               `chat_template.jinja` that does not, or that marks what is generated with `{% generation %}`, or \
               train on `prompt` and `completion`"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
