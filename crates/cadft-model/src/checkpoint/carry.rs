//! The files that travel with a model: copied, then adapted to the chat format of the training.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cadft_files::Action;
use serde_json::{Map, Value, json};

use super::edit::edit;
use super::tokenizer_class::keep_tokenizer_class;
use crate::error::ModelError;
use crate::file::write_file;

/// The files of tokenizer and generation that are copied with a model, if they exist.
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
/// The directory of chat templates for special purposes, such as tools.
pub(crate) const OTHER_TEMPLATES: &str = "additional_chat_templates";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const STOP: &str = "eos_token_id";

/// The chat template and the end of a turn, if they differ from what the copied files contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatFormat {
    /// The new content of `chat_template.jinja`; `None` keeps the copied one.
    pub template: Option<String>,
    /// Text put before every template, such as values of its variables. A template that begins with it already is not
    /// changed.
    pub preamble: String,
    /// The tokenizer's `eos_token`; `None` keeps the copied one.
    pub eos_token: Option<String>,
    /// Every token that ends an answer. Other programs read them from `generation_config.json` or, if that is absent,
    /// from `config.json`. If the list is empty, the files stay as they are.
    pub stop_token_ids: Vec<u32>,
}

/// Copies the [`CARRIED_FILES`] and the special chat templates, and keeps the tokenizer's behaviour in transformers.
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

/// The names of the special chat templates.
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

/// Whether a directory next to a model, such as an adapter's, has its own tokenizer.
#[must_use]
pub fn has_tokenizer(directory: &Path) -> bool {
    directory.join(TOKENIZER).is_file()
}

/// Replaces the files of the base model by those of an adapter. A tokenizer replaces all of the other's files: a
/// template that belongs to one tokenizer must not be used with the other.
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
    /// Changes the files in `directory` to this format. A file that has it already keeps its bytes.
    pub(crate) fn apply(&self, directory: &Path) -> Result<(), ModelError> {
        self.write_template(&directory.join(TEMPLATE))?;
        if self.template.is_some() {
            remove_other_templates(directory)?;
        }
        for name in other_templates(directory)? {
            self.write_begun(&directory.join(OTHER_TEMPLATES).join(name))?;
        }
        edit(&directory.join(TOKENIZER_CONFIG), |config| {
            // Programs that do not know `chat_template.jinja` read the template here.
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

    /// Like [`ChatFormat::apply`], for an adapter. Its directory has no `config.json` to name the stop tokens, so
    /// `generation_config.json` is created if it is absent.
    pub(crate) fn apply_to_adapter(&self, directory: &Path) -> Result<(), ModelError> {
        let path = directory.join(GENERATION_CONFIG);
        if !path.is_file() && !self.stop_token_ids.is_empty() {
            write_file(&path, b"{}\n")?;
        }
        self.apply(directory)
    }

    /// Sets `eos_token_id` of a `config.json` or `generation_config.json`, unless it names the same tokens.
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

    /// Puts the preamble before the template in a file, if the file exists.
    fn write_begun(&self, path: &Path) -> Result<(), ModelError> {
        if self.preamble.is_empty() || !path.is_file() {
            return Ok(());
        }
        let template = fs::read_to_string(path).map_err(|error| ModelError::io(Action::Read, path, error))?;
        write_file(path, self.begun(&template).as_bytes())
    }

    /// A template with the preamble before it.
    fn begun(&self, template: &str) -> String {
        if template.starts_with(&self.preamble) {
            return template.to_owned();
        }
        format!("{}{template}", self.preamble)
    }

    /// Puts the preamble before a template of `tokenizer_config.json`, or before each of several named templates.
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
