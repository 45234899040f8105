//! Alpaca: an instruction, an optional input and the output become a question and an answer in a conversation.
//!
//! As in LLaMA-Factory: the user's turn is the instruction, then the input on the next line. `history` has the earlier
//! pairs, and `system` comes first.

use serde_json::Value;

use super::{Fields, messages};
use crate::row::{Content, Message};

pub(super) fn content(fields: &mut Fields) -> Option<Content> {
    let before = fields.problems().len();
    let mut turns = Vec::new();
    for (index, pair) in fields
        .list("history", "")
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        match pair.as_array().map(Vec::as_slice) {
            Some([Value::String(question), Value::String(answer)]) => {
                turns.push(Message::new("user", question));
                turns.push(Message::new("assistant", answer));
            }
            _ => {
                fields.problem(format!(
                    "`history[{index}]`: expected a list of two strings, an instruction and its output"
                ));
                if fields.problems().len() >= before + messages::SHOWN {
                    break;
                }
            }
        }
    }
    let instruction = fields.text("instruction").unwrap_or_default();
    let input = fields.text("input").unwrap_or_default();
    let output = fields.text("output").unwrap_or_default();
    if fields.problems().len() > before {
        return None;
    }
    let parts: Vec<_> = [instruction, input]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        fields.problem("`instruction`: empty".to_owned());
    }
    if output.trim().is_empty() {
        fields.problem("`output`: empty, there is nothing to learn".to_owned());
    }
    turns.push(Message::new("user", &parts.join("\n")));
    turns.push(Message::new("assistant", &output));
    messages::content_of(turns, fields)
}
