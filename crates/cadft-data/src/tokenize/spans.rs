//! Finds the trained turns of a conversation in its rendered text.
//!
//! Where the template marks what is generated (`{% generation %}`), those places are trained. Else a turn starts
//! where `render(messages before it, with the generation prompt)` ends, if that is how the rendered conversation
//! starts. Some templates render a turn differently once others follow (Qwen 3 drops the reasoning of earlier
//! turns, Mistral moves the system prompt), or open it differently from their generation prompt (`QwQ` and
//! `DeepSeek` R1 write `<think>` there). Then the turn's text is replaced by a character that occurs nowhere: up
//! to where that changes the rendered text, the turn has not begun, and the last generation prompt before that
//! place, as far as the text agrees with it, is the turn's own.
//!
//! A turn ends with the first stop token after its text.

use std::ops::Range;

use minijinja::Value;
use serde_json::Map;

use crate::error::DataError;
use crate::row::Message;
use crate::template::{GenerationPrompt, Rendered, RowTemplate, value, values};
use crate::tokenizer::{Encoded, Tokenizer};

/// A conversation under a tokenizer's chat template.
pub(super) struct Conversation<'a> {
    messages: &'a [Message],
    values: Vec<Value>,
    tools: &'a [serde_json::Value],
    tokenizer: &'a Tokenizer,
    template: RowTemplate<'a>,
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
        })
    }

    /// The ids of the whole conversation and which of them are trained: those of these turns, or all.
    pub(super) fn tokenize(&self, turns: Option<&[usize]>) -> Result<(Vec<u32>, Vec<bool>), DataError> {
        let Rendered { text, generated } =
            self.template
                .render_marked(&self.values, self.tools, GenerationPrompt::Omit)?;
        let encoded = self.tokenizer.encode(&text)?;
        let mut mask = vec![turns.is_none(); encoded.ids.len()];
        let turns = turns.unwrap_or_default();
        if let Some(marked) = self.marked(turns, &generated) {
            for place in marked {
                let tokens = self.generated_tokens(place, &text, &encoded)?;
                mask[tokens].fill(true);
            }
            return Ok((encoded.ids, mask));
        }
        let mut previous = 0;
        for &turn in turns {
            let start = self
                .start(turn, &text, previous)
                .ok_or_else(|| unknown_start(turn))?;
            let tokens = self
                .tokens(turn, start, &text, &encoded)
                .ok_or_else(|| self.no_stop(&format!("`messages[{turn}]`: the assistant turn")))?;
            previous = encoded.offsets[tokens.end - 1].1;
            mask[tokens].fill(true);
        }
        Ok((encoded.ids, mask))
    }

    /// The marked places of these turns, where the marks tell: all places for all assistant turns, else each for
    /// one turn.
    fn marked<'g>(&self, turns: &[usize], generated: &'g [Range<usize>]) -> Option<Vec<&'g Range<usize>>> {
        if generated.is_empty() {
            return None;
        }
        let assistants: Vec<usize> = (0..self.messages.len())
            .filter(|&index| self.messages[index].is_assistant())
            .collect();
        if turns == assistants {
            return Some(generated.iter().collect());
        }
        (generated.len() == assistants.len()).then(|| {
            assistants
                .iter()
                .zip(generated)
                .filter(|(turn, _)| turns.contains(turn))
                .map(|(_, place)| place)
                .collect()
        })
    }

    /// The tokens of a marked place, which must end with a stop token but for whitespace.
    fn generated_tokens(
        &self,
        place: &Range<usize>,
        text: &str,
        encoded: &Encoded,
    ) -> Result<Range<usize>, DataError> {
        let offsets = &encoded.offsets;
        let first = offsets.partition_point(|&(_, end)| end <= place.start);
        let end = offsets.partition_point(|&(start, _)| start < place.end);
        let stops = self.tokenizer.stop_token_ids();
        let stop = (first..end).rfind(|&index| stops.contains(&encoded.ids[index]));
        let rest = stop.map(|stop| &text[offsets[stop].1.min(place.end)..place.end]);
        if rest.is_none_or(|rest| !rest.trim().is_empty()) {
            let words: String = text[place.clone()].chars().take(40).collect();
            return Err(self.no_stop(&format!("what the chat template marks as generated (`{words}`…)")));
        }
        Ok(first..end)
    }

    /// The byte at which a turn starts; the turn before it ends at `previous`.
    fn start(&self, turn: usize, text: &str, previous: usize) -> Option<usize> {
        let before = self.render(&self.values[..turn], GenerationPrompt::Add).ok();
        if let Some(before) = &before
            && text.starts_with(before)
            // Without a message before it, a template may not write the generation prompt at all.
            && (turn > 0 || self.generation_prompt(turn).is_none_or(|prompt| before.ends_with(&prompt)))
        {
            return Some(before.len());
        }
        let marker = ('\u{E000}'..='\u{F8FF}').find(|&marker| !text.contains(marker))?;
        let mut values = self.values.clone();
        values[turn] = value(&self.messages[turn].with_content(&marker.to_string()));
        let marked = self.render(&values, GenerationPrompt::Omit).ok()?;
        let changed = common_prefix(text, &marked);
        if changed == text.len() && changed == marked.len() {
            return None;
        }
        let prompt = self.generation_prompt(turn)?;
        let place = text.get(previous..changed)?;
        if let Some(found) = place.rfind(&prompt) {
            return Some(previous + found + prompt.len());
        }
        self.opened_otherwise(&prompt, place)
            .map(|start| previous + start)
    }

    /// Where a turn starts that its template opens with only the first part of its generation prompt: after what
    /// the last such opening in `place` and the prompt have in common. The part must hold a special token, which
    /// tells an opening from text that looks like one.
    fn opened_otherwise(&self, prompt: &str, place: &str) -> Option<usize> {
        let encoded = self.tokenizer.encode(prompt).ok()?;
        let special =
            (encoded.ids.iter().zip(&encoded.offsets)).find(|(id, _)| self.tokenizer.is_special(**id));
        let (_, &(_, end)) = special?;
        let found = place.rfind(prompt.get(..end)?)?;
        Some(found + common_prefix(&place[found..], prompt))
    }

    /// What the template writes to open a turn at this place.
    fn generation_prompt(&self, turn: usize) -> Option<String> {
        let opening = |values: &[Value]| {
            let closed = self.render(values, GenerationPrompt::Omit).ok()?;
            let open = self.render(values, GenerationPrompt::Add).ok()?;
            // A template may end a closed conversation with a token that it leaves out of an open one.
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

    /// The tokens of a turn that starts at this byte, its stop token the last.
    fn tokens(&self, turn: usize, start: usize, text: &str, encoded: &Encoded) -> Option<Range<usize>> {
        let after = (turn + 1 < self.values.len())
            .then(|| self.render(&self.values[..=turn], GenerationPrompt::Omit).ok())
            .flatten();
        let limit = after
            .filter(|after| text.starts_with(after))
            .map_or(text.len(), |after| after.len());
        // A stop token that the turn itself spells out does not end it.
        let content = self.messages[turn].content().trim();
        let content_end = text
            .get(start..limit)?
            .find(content)
            .map_or(start, |found| start + found + content.len());
        let first = encoded.offsets.partition_point(|&(_, end)| end <= start);
        let is_stop = |&index: &usize| {
            let (from, to) = encoded.offsets[index];
            from >= content_end
                && to <= limit
                && self.tokenizer.stop_token_ids().contains(&encoded.ids[index])
        };
        (first..encoded.ids.len())
            .find(is_stop)
            .map(|stop| first..stop + 1)
    }

    fn render(&self, values: &[Value], prompt: GenerationPrompt) -> Result<String, DataError> {
        self.template.render_values(values, self.tools, prompt)
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
            hint:
                "a model trained on this never stops; the chat template must end every assistant turn with \
                   `eos_token`, or with an `eos_token_id` of `generation_config.json`"
                    .to_owned(),
        }
    }
}

/// The bytes that two texts start with alike, whole characters only.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|&at| a.is_char_boundary(at)).unwrap_or(0)
}

fn unknown_start(turn: usize) -> DataError {
    DataError::Conversation {
        message: format!(
            "`messages[{turn}]`: the assistant turn cannot be found in the rendered conversation"
        ),
        hint: "the chat template opens it differently from the generation prompt it gives; put a template into \
               `chat_template.jinja` that does not, or that marks what is generated with `{% generation %}`, or \
               train on `prompt` and `completion`"
            .to_owned(),
    }
}
