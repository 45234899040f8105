//! Renders a conversation with a Hugging Face chat template.
//!
//! The semantics are those of `apply_chat_template`: `trim_blocks`, `lstrip_blocks`, one trailing newline of the
//! template dropped, loop controls, Python's methods on values, `raise_exception`, `strftime_now` and Python's
//! `tojson`. `{% generation %}` marks are transparent: which text is trained is derived from the rendered text
//! (see `tokenize`), as most templates carry no such marks.

mod json;

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::error::DataError;
use crate::row::Message;

/// What one rendering may cost: about as many instructions, or 64 times as many bytes. A conversation of a
/// million characters needs far less; a template that loops for ever is stopped within a second or so.
const FUEL: u64 = 5_000_000;

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
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", json::tojson);
        environment.add_function("raise_exception", raise_exception);
        let now = ZonedDateTime::now();
        environment.add_function("strftime_now", move |format: &str| {
            strtime::format(format, &now)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        for (name, token) in special_tokens {
            environment.add_global((*name).to_owned(), token.as_str());
        }
        let source = without_generation_marks(source);
        environment
            .add_template_owned(NAME, source)
            .map_err(parse_error)?;
        Ok(Self { environment })
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
        let render = || self.environment.get_template(NAME)?.render(context);
        render().map_err(|error| DataError::Conversation {
            message: format!("the chat template failed: {error}"),
            hint: if error.kind() == ErrorKind::OutOfFuel {
                "the template does more work than any conversation needs; check its loops".to_owned()
            } else {
                "check that the roles and their order are what this model's template accepts".to_owned()
            },
        })
    }
}

/// A message as a template value.
pub(crate) fn value(message: &Message) -> Value {
    Value::from(Serde(message))
}

/// Messages as template values.
pub(crate) fn values(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(value).collect()
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// Turns `{% generation %}`, which the engine does not know, into `{% if true %}`, whitespace marks included.
fn without_generation_marks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{%") {
        let Some((tag, after)) = after.split_once("%}") else {
            break;
        };
        let replaced = match tag.trim_matches(['-', '+']).trim() {
            "generation" => tag.replace("generation", " if true "),
            "endgeneration" => tag.replace("endgeneration", " endif "),
            _ => tag.to_owned(),
        };
        text.extend([before, "{%", &replaced, "%}"]);
        rest = after;
    }
    text + rest
}
