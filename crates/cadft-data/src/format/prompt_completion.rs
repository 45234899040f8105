//! `prompt` and `completion`: two strings, or two lists of messages.

use serde_json::Value;

use super::{Fields, messages};
use crate::row::{Content, Message};
use crate::shown::kind;

pub(super) fn content(fields: &mut Fields) -> Option<Content> {
    match (fields.take("prompt")?, fields.take("completion")?) {
        (Value::String(_), Value::String(completion)) if completion.is_empty() => {
            fields.problem("`completion`: empty, there is nothing to learn".to_owned());
            None
        }
        (Value::String(prompt), Value::String(completion)) => {
            Some(Content::PromptCompletion { prompt, completion })
        }
        (Value::Array(prompt), Value::Array(completion)) => {
            let prompt = messages::list(prompt, "prompt", fields.problems_mut());
            let completion = messages::list(completion, "completion", fields.problems_mut());
            let (mut turns, completion) = (prompt?, completion?);
            if !completion.iter().any(Message::is_assistant) {
                fields.problem("`completion`: no assistant turn".to_owned());
                return None;
            }
            let (seam, count) = (turns.len(), turns.len() + completion.len());
            turns.extend(completion);
            let (messages, tools) = messages::conversation(turns, fields)?;
            // The row's `system` is inserted before the prompt.
            let trained_from = Some(seam + messages.len() - count);
            Some(Content::Messages {
                messages,
                tools,
                trained_from,
            })
        }
        (prompt, completion) => {
            let (prompt, completion) = (kind(&prompt), kind(&completion));
            let expected = "expected two strings or two lists of messages";
            fields.problem(format!(
                "`prompt` and `completion`: {expected}, found {prompt} and {completion}"
            ));
            None
        }
    }
}
