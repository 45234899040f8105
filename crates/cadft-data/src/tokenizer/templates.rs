//! The chat templates of a model, from several files.

use serde_json::{Map, Value};

use super::config::{
    ADDITIONAL_TEMPLATES, CHAT_TEMPLATE, CHAT_TEMPLATE_JSON, TOKENIZER_CONFIG, invalid, json_object, key,
};
use super::files::TokenizerFiles;
use crate::error::DataError;
use crate::template::{ChatTemplate, TemplateTime};

/// The template for conversations without tools, or for all.
const DEFAULT: &str = "default";

/// The template for conversations with tools.
const TOOL_USE: &str = "tool_use";

/// Templates by purpose.
#[derive(Debug)]
pub(super) struct Templates {
    default: ChatTemplate,
    tool_use: Option<ChatTemplate>,
}

impl Templates {
    /// A single template for all conversations.
    pub(super) fn one(default: ChatTemplate) -> Self {
        Self {
            default,
            tool_use: None,
        }
    }

    /// Reads the templates from files; `None` if there are none.
    pub(super) fn read(
        files: &TokenizerFiles,
        config: &Map<String, Value>,
        special_tokens: &[(&str, String)],
    ) -> Result<Option<Self>, DataError> {
        let named = sources(files, config)?;
        if named.is_empty() {
            return Ok(None);
        }
        let compiled = |name: &str| {
            let source = named.iter().find(|(known, _)| known == name);
            source
                .map(|(_, source)| ChatTemplate::new(source, special_tokens))
                .transpose()
        };
        let default = compiled(DEFAULT)?.ok_or_else(|| {
            let names: Vec<_> = named.iter().map(|(name, _)| format!("`{name}`")).collect();
            let message = format!(
                "there are chat templates named {}, and none named `{DEFAULT}`",
                names.join(", ")
            );
            let hint = format!("put the one to use into `{CHAT_TEMPLATE}`");
            invalid(&key(TOKENIZER_CONFIG, "chat_template"), &message, &hint)
        })?;
        Ok(Some(Self {
            default,
            tool_use: compiled(TOOL_USE)?,
        }))
    }

    /// The template for conversations without tools.
    pub(super) fn default(&self) -> &ChatTemplate {
        &self.default
    }

    /// The template for a conversation with these tools.
    pub(super) fn with_tools(&self, tools: &[Value]) -> &ChatTemplate {
        let for_tools = self.tool_use.as_ref().filter(|_| !tools.is_empty());
        for_tools.unwrap_or(&self.default)
    }

    /// All templates.
    pub(super) fn all(&self) -> impl Iterator<Item = &ChatTemplate> {
        std::iter::once(&self.default).chain(&self.tool_use)
    }

    fn map(self, change: impl Fn(ChatTemplate) -> ChatTemplate) -> Self {
        Self {
            default: change(self.default),
            tool_use: self.tool_use.map(change),
        }
    }

    pub(super) fn with_variables(self, variables: &Map<String, Value>) -> Self {
        self.map(|template| template.with_variables(variables))
    }

    pub(super) fn with_time(self, time: TemplateTime) -> Self {
        self.map(|template| template.with_time(time))
    }
}

/// The sources of templates by name. Separate files have priority over `tokenizer_config.json`, as in `transformers`.
fn sources(files: &TokenizerFiles, config: &Map<String, Value>) -> Result<Vec<(String, String)>, DataError> {
    let mut named = Vec::new();
    if let Some(bytes) = &files.chat_template {
        named.push((DEFAULT.to_owned(), utf8(CHAT_TEMPLATE, bytes)?));
    }
    for (name, bytes) in &files.additional_chat_templates {
        let source = utf8(&format!("{ADDITIONAL_TEMPLATES}/{name}.jinja"), bytes)?;
        named.retain(|(known, _)| known != name);
        named.push((name.clone(), source));
    }
    if !named.is_empty() {
        return Ok(named);
    }
    let found = of_value(TOKENIZER_CONFIG, config.get("chat_template"))?;
    if !found.is_empty() {
        return Ok(found);
    }
    let processor = json_object(CHAT_TEMPLATE_JSON, files.chat_template_json.as_deref())?;
    of_value(CHAT_TEMPLATE_JSON, processor.get("chat_template"))
}

fn utf8(file: &str, bytes: &[u8]) -> Result<String, DataError> {
    let text = str::from_utf8(bytes)
        .map_err(|error| invalid(file, &error.to_string(), "the template is UTF-8 text"))?;
    Ok(text.to_owned())
}

/// Parses `chat_template`: a string, a list of names and templates, or an object of templates by name.
fn of_value(file: &str, value: Option<&Value>) -> Result<Vec<(String, String)>, DataError> {
    let expected = || {
        let message =
            "expected a string, a list of `{\"name\", \"template\"}`, or an object of templates by name";
        let hint = format!("a `{CHAT_TEMPLATE}` file comes before this key");
        invalid(&key(file, "chat_template"), message, &hint)
    };
    let pair = |name: Option<&str>, template: Option<&str>| match (name, template) {
        (Some(name), Some(template)) => Ok((name.to_owned(), template.to_owned())),
        _ => Err(expected()),
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(template)) => Ok(vec![(DEFAULT.to_owned(), template.clone())]),
        Some(Value::Array(list)) => {
            let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let entries = list
                .iter()
                .map(|entry| pair(text(entry, "name").as_deref(), text(entry, "template").as_deref()));
            // As in Python, the last template with a name is used.
            let mut named: Vec<(String, String)> = Vec::new();
            for entry in entries {
                let (name, template) = entry?;
                named.retain(|(known, _)| *known != name);
                named.push((name, template));
            }
            Ok(named)
        }
        Some(Value::Object(named)) => named
            .iter()
            .map(|(name, template)| pair(Some(name), template.as_str()))
            .collect(),
        Some(_) => Err(expected()),
    }
}
