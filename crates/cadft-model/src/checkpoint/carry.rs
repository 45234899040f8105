//! The files that travel with a model: copied, and made to say how the model was trained to talk.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cadft_files::Action;
use serde_json::{Map, Value, json};

use super::edit::edit;
use super::tokenizer_class::keep_tokenizer_class;
use crate::error::ModelError;
use crate::file::write_file;

/// The files of tokenizer and generation that are copied along with a model, where they exist.
pub const CARRIED_FILES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "tokenizer.model",
];

const TOKENIZER: &str = "tokenizer.json";
const TEMPLATE: &str = "chat_template.jinja";
/// The directory of templates for other purposes than plain conversations, such as tools.
pub(crate) const OTHER_TEMPLATES: &str = "additional_chat_templates";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const STOP: &str = "eos_token_id";

/// How a model renders a conversation and ends its turn, where the files that are carried along say something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatFormat {
    /// The content of `chat_template.jinja`; the carried one stays where this is absent.
    pub template: Option<String>,
    /// What every template begins with, such as values of its variables. A template that begins so already is left alone.
    pub preamble: String,
    /// The tokenizer's `eos_token`; the carried one stays where this is absent.
    pub eos_token: Option<String>,
    /// Every token that ends an answer. Other programs read them from `generation_config.json` or, where there is none,
    /// from `config.json`. Empty: the files stay as they are.
    pub stop_token_ids: Vec<u32>,
}

/// Copies the [`CARRIED_FILES`], and the chat templates for other purposes; the tokenizer stays what it was elsewhere.
pub(crate) fn carry(source: &Path, target: &Path) -> Result<(), ModelError> {
    copy(&CARRIED_FILES, source, target)?;
    keep_tokenizer_class(target)?;
    let names = other_templates(source)?;
    if names.is_empty() {
        return Ok(());
    }
    let directory = target.join(OTHER_TEMPLATES);
    fs::create_dir_all(&directory).map_err(|error| ModelError::io(Action::Create, &directory, error))?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    copy(&names, &source.join(OTHER_TEMPLATES), &directory)
}

/// The files of the chat templates for other purposes.
fn other_templates(directory: &Path) -> Result<Vec<String>, ModelError> {
    let directory = directory.join(OTHER_TEMPLATES);
    if !directory.is_dir() {
        return Ok(vec![]);
    }
    let io = |error| ModelError::io(Action::Read, &directory, error);
    let mut names = vec![];
    for entry in fs::read_dir(&directory).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.ends_with(".jinja"));
    names.sort();
    Ok(names)
}

fn remove_other_templates(target: &Path) -> Result<(), ModelError> {
    let directory = target.join(OTHER_TEMPLATES);
    if !directory.is_dir() {
        return Ok(());
    }
    fs::remove_dir_all(&directory).map_err(|error| ModelError::io(Action::Remove, &directory, error))
}

/// Whether a directory beside a model, such as an adapter's, brings a tokenizer of its own.
#[must_use]
pub fn has_tokenizer(directory: &Path) -> bool {
    directory.join(TOKENIZER).is_file()
}

/// Puts the files of an adapter in the place of those of its model. A tokenizer replaces all files of the other one: a
/// template that only one of them has must not be read with the other.
pub(crate) fn carry_over(adapter: &Path, target: &Path) -> Result<(), ModelError> {
    if has_tokenizer(adapter) {
        for name in CARRIED_FILES
            .into_iter()
            .filter(|name| *name != GENERATION_CONFIG)
        {
            let file = target.join(name);
            if file.is_file() {
                fs::remove_file(&file).map_err(|error| ModelError::io(Action::Remove, &file, error))?;
            }
        }
        remove_other_templates(target)?;
        return carry(adapter, target);
    }
    copy(&[TEMPLATE, GENERATION_CONFIG], adapter, target)
}

fn copy(names: &[&str], source: &Path, target: &Path) -> Result<(), ModelError> {
    for name in names {
        let file = source.join(name);
        if file.is_file() {
            let text = fs::read(&file).map_err(|error| ModelError::io(Action::Read, &file, error))?;
            write_file(&target.join(name), &text)?;
        }
    }
    Ok(())
}

impl ChatFormat {
    /// Makes the files that were carried to `directory` say this. A file that says it already keeps its bytes.
    pub(crate) fn apply(&self, directory: &Path) -> Result<(), ModelError> {
        self.write_template(&directory.join(TEMPLATE))?;
        if self.template.is_some() {
            remove_other_templates(directory)?;
        }
        for name in other_templates(directory)? {
            self.write_begun(&directory.join(OTHER_TEMPLATES).join(name))?;
        }
        edit(&directory.join(TOKENIZER_CONFIG), |config| {
            // Programs that do not know the file of its own read the template here.
            match (config.get_mut("chat_template"), &self.template) {
                (Some(carried), Some(template)) => *carried = json!(self.begun(template)),
                (Some(carried), None) => self.begin(carried),
                (None, _) => {}
            }
            self.set_eos_token(config);
        })?;
        edit(&directory.join(SPECIAL_TOKENS), |tokens| {
            self.set_eos_token(tokens);
        })?;
        edit(&directory.join(GENERATION_CONFIG), |config| {
            self.set_stop_tokens(config);
        })
    }

    /// As [`ChatFormat::apply`], for an adapter: its directory has no `config.json` that would name the stop tokens, so
    /// that `generation_config.json` is made where there is none.
    pub(crate) fn apply_to_adapter(&self, directory: &Path) -> Result<(), ModelError> {
        let path = directory.join(GENERATION_CONFIG);
        if !path.is_file() && !self.stop_token_ids.is_empty() {
            write_file(&path, b"{}\n")?;
        }
        self.apply(directory)
    }

    /// Sets `eos_token_id` of a `config.json` or `generation_config.json`, unless it names these tokens already.
    pub(crate) fn set_stop_tokens(&self, config: &mut Map<String, Value>) {
        let wanted: BTreeSet<u64> = self.stop_token_ids.iter().map(|&id| u64::from(id)).collect();
        let named: BTreeSet<u64> = match config.get(STOP) {
            Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
            id => id.and_then(Value::as_u64).into_iter().collect(),
        };
        if wanted.is_empty() || wanted == named {
            return;
        }
        let ids = match &self.stop_token_ids[..] {
            [id] => json!(id),
            ids => json!(ids),
        };
        config.insert(STOP.to_owned(), ids);
    }

    fn write_template(&self, path: &Path) -> Result<(), ModelError> {
        let template = match &self.template {
            Some(template) => template.clone(),
            None => return self.write_begun(path),
        };
        write_file(path, self.begun(&template).as_bytes())
    }

    /// Puts the beginning before the template in a file, if it is there.
    fn write_begun(&self, path: &Path) -> Result<(), ModelError> {
        if self.preamble.is_empty() || !path.is_file() {
            return Ok(());
        }
        let template = fs::read_to_string(path).map_err(|error| ModelError::io(Action::Read, path, error))?;
        write_file(path, self.begun(&template).as_bytes())
    }

    /// A template with its beginning.
    fn begun(&self, template: &str) -> String {
        if template.starts_with(&self.preamble) {
            return template.to_owned();
        }
        format!("{}{template}", self.preamble)
    }

    /// Puts the beginning before a template of `tokenizer_config.json`, or before each of several with names.
    fn begin(&self, carried: &mut Value) {
        match carried {
            Value::String(template) => *template = self.begun(template),
            Value::Array(named) => {
                let templates = named.iter_mut().filter_map(|named| named.get_mut("template"));
                templates.for_each(|template| self.begin(template));
            }
            _ => {}
        }
    }

    fn set_eos_token(&self, config: &mut Map<String, Value>) {
        if let Some(token) = &self.eos_token {
            let carried = config.get("eos_token");
            let text = carried.and_then(|carried| carried.get("content").or(Some(carried)));
            if text.and_then(Value::as_str) != Some(token) {
                config.insert("eos_token".to_owned(), json!(token));
            }
        }
    }
}
