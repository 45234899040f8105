//! The parts of a row that a template gets: messages, tools and variables.

use minijinja::Value;
use minijinja::value::Serde;
use serde_json::{Map, Value as Json};

use super::{ChatTemplate, GenerationPrompt, Rendered};
use crate::error::DataError;
use crate::exact;
use crate::row::{FLAGS, Message};

/// The names of reasoning in messages; most templates read the first one.
pub(crate) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The keys of a message that can contain calls.
const CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// A chat template with the variables of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowTemplate<'a> {
    template: &'a ChatTemplate,
    variables: &'a Map<String, Json>,
}

impl<'a> RowTemplate<'a> {
    /// The template for a row with these variables.
    pub(crate) fn new(template: &'a ChatTemplate, variables: &'a Map<String, Json>) -> Self {
        Self { template, variables }
    }

    /// Renders a conversation from messages that are converted already, so that rendering every prefix does not convert
    /// them again.
    pub(crate) fn render_values(
        self,
        messages: &[Value],
        tools: &[Json],
        prompt: GenerationPrompt,
    ) -> Result<String, DataError> {
        Ok(self.render_marked(messages, tools, prompt)?.text)
    }

    /// Like [`Self::render_values`]; also returns the ranges that the template marks as generated.
    pub(crate) fn render_marked(
        self,
        messages: &[Value],
        tools: &[Json],
        prompt: GenerationPrompt,
    ) -> Result<Rendered, DataError> {
        if self.template.needs_text_arguments() && messages.iter().any(has_calls) {
            let messages: Vec<Value> = messages.iter().map(with_text_arguments).collect();
            return self.template.render_row(&messages, tools, self.variables, prompt);
        }
        self.template.render_row(messages, tools, self.variables, prompt)
    }
}

/// Converts a message to a template value. Training flags and null fields are left out. Reasoning under any of its
/// names becomes both `reasoning_content` and `thinking`. Both rules are those of `transformers`. Call arguments that
/// are JSON in a string are parsed, as servers do.
pub(crate) fn value(message: &Message) -> Value {
    let own = message.fields();
    let reasoning = REASONING
        .into_iter()
        .find_map(|key| own.get(key).filter(|value| !value.is_null()));
    let mut fields = Map::new();
    if let Some(reasoning) = reasoning {
        fields.insert("thinking".to_owned(), reasoning.clone());
    }
    for (key, value) in own {
        if FLAGS.contains(&key.as_str()) || value.is_null() {
            continue;
        }
        let mut value = value.clone();
        if CALLS.contains(&key.as_str()) {
            parse_calls(&mut value);
        }
        fields.insert(key.clone(), value);
    }
    if let Some(reasoning) = reasoning {
        fields.insert(REASONING[0].to_owned(), reasoning.clone());
    }
    Value::from(Serde(fields))
}

/// Converts messages to template values.
pub(crate) fn values(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(value).collect()
}

/// Converts tool definitions to a template value, which is none if there are no tools. A definition that is JSON in a
/// string is parsed.
pub(super) fn tools(tools: &[Json]) -> Value {
    if tools.is_empty() {
        return Value::from(());
    }
    let tools: Vec<Json> = tools
        .iter()
        .map(|tool| parsed(tool).unwrap_or_else(|| tool.clone()))
        .collect();
    Value::from(Serde(tools))
}

/// Parses call arguments that are JSON in a string.
pub(crate) fn parse_calls(calls: &mut Json) {
    each_call(calls, parse_arguments);
}

/// Applies `change` to a single call, or to every call in a list.
fn each_call(calls: &mut Json, change: fn(&mut Map<String, Json>)) {
    match calls {
        Json::Array(calls) => calls.iter_mut().for_each(|call| each_call(call, change)),
        Json::Object(call) => match call.get_mut("function") {
            Some(Json::Object(function)) => change(function),
            _ => change(call),
        },
        _ => {}
    }
}

/// Parses arguments that are JSON in a string; missing arguments become an empty object.
fn parse_arguments(function: &mut Map<String, Json>) {
    let Some(arguments) = function.get_mut("arguments") else {
        return;
    };
    if arguments.is_null() || arguments.as_str().is_some_and(|text| text.trim().is_empty()) {
        *arguments = Json::Object(Map::new());
    } else if let Some(value) = parsed(arguments) {
        *arguments = value;
    }
}

/// The parsed JSON of a string, if it is an object or a list; `None` if a number would be rounded.
fn parsed(value: &Json) -> Option<Json> {
    let text = value.as_str()?.trim();
    let is_likely = text.starts_with(['{', '[']);
    is_likely.then(|| exact::value(text).ok()).flatten()
}

fn has_calls(message: &Value) -> bool {
    CALLS
        .iter()
        .any(|key| message.get_attr(key).is_ok_and(|calls| calls.is_true()))
}

/// A message whose call arguments are JSON in a string.
fn with_text_arguments(message: &Value) -> Value {
    let Ok(Json::Object(mut fields)) = serde_json::to_value(message) else {
        return message.clone();
    };
    for key in CALLS {
        if let Some(calls) = fields.get_mut(key) {
            each_call(calls, |function| {
                if let Some(arguments) = function.get_mut("arguments").filter(|value| !value.is_string()) {
                    *arguments = Json::String(super::json::python_json(&Value::from(Serde(&*arguments))));
                }
            });
        }
    }
    Value::from(Serde(fields))
}

/// Whether a template can show a call only if its arguments are a string: that of `DeepSeek` V3 appends them to one.
pub(super) fn needs_text_arguments(template: &ChatTemplate) -> bool {
    let shows = |arguments: &Json| {
        let call = serde_json::json!({"id": "call00000", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let turns = [
            serde_json::json!({"role": "assistant", "content": "", "tool_calls": [call.clone()]}),
            serde_json::json!({"role": "assistant", "tool_calls": [call]}),
        ];
        let empty = Map::new();
        turns.into_iter().any(|turn| {
            let messages = [
                serde_json::json!({"role": "user", "content": "q"}),
                turn,
                serde_json::json!({"role": "tool", "tool_call_id": "call00000", "name": "f", "content": "r"}),
            ];
            let messages = messages.map(|message| Value::from(Serde(message)));
            template
                .render_row(&messages, &[], &empty, GenerationPrompt::Omit)
                .is_ok()
        })
    };
    let object = serde_json::json!({"k": "v"});
    !shows(&object) && shows(&Json::String(object.to_string()))
}
