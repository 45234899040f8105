//! Renders a conversation with a Hugging Face chat template.
//!
//! The behaviour is that of `apply_chat_template`: `trim_blocks`, `lstrip_blocks`, removal of one trailing newline of
//! the template, loop controls, Python's methods of values, `raise_exception`, `strftime_now` and Python's `tojson`.
//! Text between `{% generation %}` and `{% endgeneration %}` is written normally, and its position is reported (see
//! `generation`).
//!
//! A template is a program from a download. It cannot read files, and the computation and memory of a rendering are
//! limited: the engine counts instructions and bytes as fuel, and `guards` inserts checks into the instructions for
//! what the engine does not count. `limits` limits the work of compiling a template.

mod checked;
mod filters;
mod fuel;
mod generation;
mod globals;
mod guards;
mod json;
mod limits;
mod message;
mod methods;
mod numbers;
mod objects;
mod preset;
mod printf;
mod program;
mod python;
mod slice;
mod strings;
mod time;
mod wrap;

pub(crate) use message::{REASONING, RowTemplate, parse_calls, value, values};
pub use preset::Preset;
pub use time::TemplateTime;

use std::ops::Range;
use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::error::DataError;
use crate::row::Message;
use program::Program;

/// Fuel of one rendering: about this many instructions, or 64 times this many bytes, which limits its memory to about
/// 300 MB. A conversation of a million characters needs far less. An endless loop is stopped within about a second.
const FUEL: u64 = 5_000_000;

/// Largest size of a conversation's text, in bytes.
const LONGEST: usize = 64 << 20;

const NAME: &str = "chat_template";

/// Whether the text ends with the opening of an assistant turn, which the model then continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// The opening is written.
    Add,
    /// The text ends after the last message.
    Omit,
}

/// A compiled chat template.
///
/// # Examples
/// ```
/// use cadft_data::{ChatTemplate, GenerationPrompt, Message};
///
/// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}\
///               {% if add_generation_prompt %}<assistant>{% endif %}";
/// let template = ChatTemplate::new(source, &[("eos_token", "</s>".to_owned())])?;
/// let text = template.render(&[Message::new("user", "Hello")], &[], GenerationPrompt::Add)?;
/// assert_eq!(text, "<user>Hello</s><assistant>");
/// # Ok::<(), cadft_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    program: Program,
    marks_generation: bool,
    needs_text_arguments: OnceLock<bool>,
    time: TemplateTime,
    source: String,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The byte ranges that the template marks with `{% generation %}`, in order and not empty; no ranges if it has no
    /// such marks.
    pub generated: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Compiles a template. `special_tokens` are variables for it, such as `("bos_token", "<s>")`.
    ///
    /// `strftime_now` returns the local time of this call, so that every row gets the same date; see
    /// [`Self::with_time`].
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the template cannot be parsed.
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
        for (name, token) in special_tokens {
            environment.add_global((*name).to_owned(), token.as_str());
        }
        // Python's Jinja converts all newlines to one kind.
        let lines = source.replace("\r\n", "\n").replace('\r', "\n");
        let compiled = generation::as_blocks(&lines).map_err(parse_error)?;
        let marks_generation = compiled.is_some();
        let program = Program::new(&compiled.unwrap_or(lines), syntax).map_err(parse_error)?;
        let template = Self {
            environment,
            program,
            marks_generation,
            needs_text_arguments: OnceLock::new(),
            time: TemplateTime::now(),
            source: source.to_owned(),
        };
        let now = template.time;
        Ok(template.with_time(now))
    }

    /// The template with another time for `strftime_now`.
    #[must_use]
    pub fn with_time(mut self, time: TemplateTime) -> Self {
        self.time = time;
        self.environment
            .add_function("strftime_now", move |format: &str| {
                time.format(format)
                    .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
            });
        self
    }

    /// The time that the template uses; `None` if it does not use the time.
    pub fn time(&self) -> Option<TemplateTime> {
        self.source.contains("strftime_now").then_some(self.time)
    }

    /// The part of [`Self::time`] that affects the text: the date, and the time of day if a format uses it.
    pub(crate) fn time_key(&self) -> Option<String> {
        let time = self.time()?;
        Some(if time::asks_for_time(&self.source) {
            time.to_string()
        } else {
            time.date()
        })
    }

    /// Whether the template can show a tool call only if its arguments are a string.
    fn needs_text_arguments(&self) -> bool {
        *self
            .needs_text_arguments
            .get_or_init(|| message::needs_text_arguments(self))
    }

    /// The template with additional variables, such as `enable_thinking`. Messages and the standard variables override
    /// them.
    #[must_use]
    pub fn with_variables(mut self, variables: &serde_json::Map<String, serde_json::Value>) -> Self {
        for (name, value) in variables {
            self.environment
                .add_global(name.clone(), Value::from(Serde(value)));
        }
        self
    }

    /// The source of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template marks the assistant's text with `{% generation %}`.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// Renders a conversation; `tools` are tool definitions in the form that the template expects.
    ///
    /// # Errors
    /// [`DataError::Conversation`] if the template rejects the conversation, fails, or does not terminate.
    pub fn render(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        prompt: GenerationPrompt,
    ) -> Result<String, DataError> {
        let none = serde_json::Map::new();
        RowTemplate::new(self, &none).render_values(&values(messages), tools, prompt)
    }

    /// Renders a row's messages with the row's variables, and reports the ranges that are marked as generated.
    fn render_row(
        &self,
        messages: &[Value],
        tools: &[serde_json::Value],
        variables: &serde_json::Map<String, serde_json::Value>,
        prompt: GenerationPrompt,
    ) -> Result<Rendered, DataError> {
        let mut context = vec![("documents", Value::from(()))];
        context.extend(
            variables
                .iter()
                .map(|(name, value)| (name.as_str(), Value::from(Serde(value)))),
        );
        context.push(("messages", Value::from(messages.to_vec())));
        context.push(("tools", message::tools(tools)));
        context.push((
            "add_generation_prompt",
            Value::from(prompt == GenerationPrompt::Add),
        ));
        let context = Value::from_pairs(context);
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

/// The message of an error, without the template's file name, which does not exist.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    text.replace(&format!(" (in {NAME}:"), " (at line ")
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}
