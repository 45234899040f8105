//! Finds the trained turns of a conversation in its rendered text.
//!
//! A turn starts where `render(messages before it, with the generation prompt)` ends, if that is how the rendered
//! conversation starts. Some templates render a turn differently once others follow (Qwen 3 drops the reasoning
//! of earlier turns, Mistral moves the system prompt). Then the turn's text is replaced by a character that
//! occurs nowhere: up to where that changes the rendered text, the turn has not begun, and the last generation
//! prompt before that place is the turn's own.
//!
//! A turn ends with the first stop token after its text.

use std::ops::Range;

use minijinja::Value;

use crate::error::DataError;
use crate::row::Message;
use crate::template::{ChatTemplate, GenerationPrompt, value, values};
use crate::tokenizer::{Encoded, Tokenizer};

/// A conversation under a tokenizer's chat template.
pub(super) struct Conversation<'a> {
    messages: &'a [Message],
    values: Vec<Value>,
    tools: &'a [serde_json::Value],
    tokenizer: &'a Tokenizer,
    template: &'a ChatTemplate,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        messages: &'a [Message],
        tools: &'a [serde_json::Value],
        tokenizer: &'a Tokenizer,
    ) -> Result<Self, DataError> {
        let template = tokenizer.chat_template()?;
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
        let text = self.render(&self.values, GenerationPrompt::Omit)?;
        let encoded = self.tokenizer.encode(&text)?;
        let mut mask = vec![turns.is_none(); encoded.ids.len()];
        let mut previous = 0;
        for &turn in turns.unwrap_or_default() {
            let start = self
                .start(turn, &text, previous)
                .ok_or_else(|| unknown_start(turn))?;
            let tokens = self
                .tokens(turn, start, &text, &encoded)
                .ok_or_else(|| self.no_stop(turn))?;
            previous = encoded.offsets[tokens.end - 1].1;
            mask[tokens].fill(true);
        }
        Ok((encoded.ids, mask))
    }

    /// The byte at which a turn starts; the turn before it ends at `previous`.
    fn start(&self, turn: usize, text: &str, previous: usize) -> Option<usize> {
        let before = self.render(&self.values[..turn], GenerationPrompt::Add).ok();
        if let Some(before) = &before
            && text.starts_with(before)
        {
            return Some(before.len());
        }
        let marker = ('\u{E000}'..='\u{F8FF}').find(|&marker| !text.contains(marker))?;
        let mut values = self.values.clone();
        values[turn] = value(&self.messages[turn].with_content(&marker.to_string()));
        let marked = self.render(&values, GenerationPrompt::Omit).ok()?;
        let (changed, _) = text
            .char_indices()
            .zip(marked.chars())
            .find(|((_, a), b)| a != b)?
            .0;
        let prompt = self.generation_prompt(turn)?;
        let found = text.get(previous..changed)?.rfind(&prompt)?;
        Some(previous + found + prompt.len())
    }

    /// What the template writes to open a turn at this place.
    fn generation_prompt(&self, turn: usize) -> Option<String> {
        let opening = |values: &[Value]| {
            let closed = self.render(values, GenerationPrompt::Omit).ok()?;
            self.render(values, GenerationPrompt::Add)
                .ok()?
                .strip_prefix(&closed)
                .map(str::to_owned)
        };
        let question = [value(&Message::new("user", "a"))];
        opening(&self.values[..turn]).or_else(|| opening(&question))
    }

    /// The tokens of a turn that starts at this byte, its stop token the last.
    fn tokens(&self, turn: usize, start: usize, text: &str, encoded: &Encoded) -> Option<Range<usize>> {
        let after = self.render(&self.values[..=turn], GenerationPrompt::Omit).ok();
        let limit = after
            .filter(|after| text.starts_with(after))
            .map_or(text.len(), |after| after.len());
        // A stop token that the turn itself spells out does not end it.
        let content = self.messages[turn].content().trim();
        let content_end = text
            .get(start..limit)?
            .find(content)
            .map_or(start, |found| start + found + content.len());
        let first = encoded.offsets.iter().position(|&(_, end)| end > start)?;
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

    fn no_stop(&self, turn: usize) -> DataError {
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
            message: format!(
                "`messages[{turn}]`: the assistant turn does not end with a stop token ({stops})"
            ),
            hint:
                "a model trained on this never stops; the chat template must end every assistant turn with \
                   `eos_token`, or with an `eos_token_id` of `generation_config.json`"
                    .to_owned(),
        }
    }
}

fn unknown_start(turn: usize) -> DataError {
    DataError::Conversation {
        message: format!(
            "`messages[{turn}]`: the assistant turn cannot be found in the rendered conversation"
        ),
        hint: "the chat template opens it differently from the generation prompt it gives; put one into \
               `chat_template.jinja` that does not, or train on `prompt` and `completion`"
            .to_owned(),
    }
}
