//! Renders a conversation with a Hugging Face chat template.
//!
//! The semantics are those of `apply_chat_template`: `trim_blocks`, `lstrip_blocks`, one trailing newline of the
//! template dropped, loop controls, Python's methods on values, `raise_exception`, `strftime_now` and Python's
//! `tojson`. What stands between `{% generation %}` and `{% endgeneration %}` is written as it is, and where it
//! was written is told (see `generation`).
//!
//! A template is a program that came with a download. It reads no files, and what a rendering computes and holds is
//! bounded: the engine counts instructions and bytes as fuel, and `guards` puts checks into the instructions for
//! what the engine does not count. `limits` bounds what is done while a template is compiled.

mod checked;
mod fuel;
mod generation;
mod guards;
mod json;
mod limits;
mod preset;
mod program;

pub use preset::Preset;

use std::ops::Range;

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

use crate::error::DataError;
use crate::row::{FLAGS, Message};
use program::Program;

/// What one rendering may cost: about as many instructions, or 64 times as many bytes, so that it holds at most some
/// 300 MB. A conversation of a million characters needs far less; a template that loops for ever is stopped within a
/// second or so.
const FUEL: u64 = 5_000_000;

/// The longest text of a conversation, in bytes.
const LONGEST: usize = 64 << 20;

const NAME: &str = "chat_template";

/// Whether the text ends with the opening of an assistant turn, for the model to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// The opening is written.
    Add,
    /// The text ends after the last message.
    Omit,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    program: Program,
    marks_generation: bool,
    source: String,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The bytes that the template marks with `{% generation %}`, in order and not empty; none where it has no
    /// such marks.
    pub generated: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Compiles a template; `special_tokens` are variables it can use, such as `("bos_token", "<s>")`.
    ///
    /// `strftime_now` answers with the local time of this call, so that every row sees the same date.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when the template cannot be parsed.
    pub fn new(source: &str, special_tokens: &[(&str, String)]) -> Result<Self, DataError> {
        let parse_error = |error: Error| DataError::Tokenizer {
            file: NAME.to_owned(),
            message: format!("the chat template cannot be parsed: {error}"),
            hint: "it is read from `chat_template.jinja`, or from `chat_template` in `tokenizer_config.json`"
                .to_owned(),
        };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(parse_error)?;
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        checked::install(&mut environment);
        environment.add_test("iterable", |value: &Value| {
            value.as_str().is_some() || (!value.is_none() && value.try_iter().is_ok())
        });
        environment.add_function("raise_exception", raise_exception);
        let now = ZonedDateTime::now();
        environment.add_function("strftime_now", move |format: &str| {
            strtime::format(format, &now)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        for (name, token) in special_tokens {
            environment.add_global((*name).to_owned(), token.as_str());
        }
        // Python's engine sees one kind of newline, whatever the file has.
        let lines = source.replace("\r\n", "\n").replace('\r', "\n");
        let compiled = generation::as_blocks(&lines).map_err(parse_error)?;
        let marks_generation = compiled.is_some();
        let program = Program::new(&compiled.unwrap_or(lines), syntax).map_err(parse_error)?;
        Ok(Self {
            environment,
            program,
            marks_generation,
            source: source.to_owned(),
        })
    }

    /// The template with these variables defined, such as `enable_thinking`; messages and the variables of
    /// every template come before them.
    #[must_use]
    pub fn with_variables(mut self, variables: &serde_json::Map<String, serde_json::Value>) -> Self {
        for (name, value) in variables {
            self.environment
                .add_global(name.clone(), Value::from(Serde(value)));
        }
        self
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template says with `{% generation %}` what the assistant writes.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// The text of a conversation; `tools` are definitions of tools as the template expects them.
    ///
    /// # Errors
    /// [`DataError::Conversation`] when the template rejects it, fails, or does not come to an end.
    pub fn render(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        prompt: GenerationPrompt,
    ) -> Result<String, DataError> {
        self.render_values(&values(messages), tools, prompt)
    }

    /// As [`Self::render`], over messages that are template values already, so that rendering every prefix of a
    /// conversation does not convert it again and again.
    pub(crate) fn render_values(
        &self,
        messages: &[Value],
        tools: &[serde_json::Value],
        prompt: GenerationPrompt,
    ) -> Result<String, DataError> {
        Ok(self.render_marked(messages, tools, prompt)?.text)
    }

    /// As [`Self::render_values`], with the places that the template marks as generated.
    pub(crate) fn render_marked(
        &self,
        messages: &[Value],
        tools: &[serde_json::Value],
        prompt: GenerationPrompt,
    ) -> Result<Rendered, DataError> {
        let tools = if tools.is_empty() {
            Value::from(())
        } else {
            Value::from(Serde(tools))
        };
        let context = context! {
            messages => Value::from(messages.to_vec()),
            tools => tools,
            documents => Value::from(()),
            add_generation_prompt => prompt == GenerationPrompt::Add,
        };
        let render = || {
            let text = self.program.render(&self.environment, context)?;
            if text.len() > LONGEST {
                let message = format!("it writes more than {LONGEST} bytes");
                return Err(Error::new(ErrorKind::WriteFailure, message));
            }
            if self.marks_generation {
                generation::found(text)
            } else {
                Ok(Rendered {
                    text,
                    generated: Vec::new(),
                })
            }
        };
        render().map_err(|error| DataError::Conversation {
            message: format!("the chat template failed: {}", reason(&error)),
            hint: match error.kind() {
                ErrorKind::OutOfFuel | ErrorKind::WriteFailure => {
                    "the template computes or writes more than any conversation needs; \
                                         check its loops"
                        .to_owned()
                }
                ErrorKind::TemplateNotFound => {
                    "a chat template reads no other files; write it in one piece".to_owned()
                }
                _ => "check that the roles and their order are what this model's template accepts".to_owned(),
            },
        })
    }
}

/// What went wrong, without the name of the template's file, which has none.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    text.replace(&format!(" (in {NAME}:"), " (at line ")
}

/// What reasoning is called in messages; the first is the name that most templates read.
pub(crate) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message as a template value. What says whether it is trained is not shown to it; reasoning under any of its names is
/// shown as `reasoning_content` and `thinking`, as `transformers` does.
pub(crate) fn value(message: &Message) -> Value {
    let reasoning = REASONING
        .into_iter()
        .find_map(|key| message.field(key).filter(|value| !value.is_null()));
    let has_flag = message.fields().keys().any(|key| FLAGS.contains(&key.as_str()));
    if !has_flag && reasoning.is_none() {
        return Value::from(Serde(message));
    }
    let mut fields = serde_json::Map::new();
    if let Some(reasoning) = reasoning {
        fields.insert("thinking".to_owned(), reasoning.clone());
    }
    if let Ok(serde_json::Value::Object(own)) = serde_json::to_value(message) {
        fields.extend(own);
    }
    if let Some(reasoning) = reasoning {
        fields.insert(REASONING[0].to_owned(), reasoning.clone());
    }
    for key in FLAGS {
        fields.shift_remove(key);
    }
    Value::from(Serde(fields))
}

/// Messages as template values.
pub(crate) fn values(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(value).collect()
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}
