//! The files of a tokenizer directory.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::config::{
    ADDED_TOKENS, ADDITIONAL_TEMPLATES, CHAT_TEMPLATE, CHAT_TEMPLATE_JSON, CONFIG, GENERATION_CONFIG,
    SPECIAL_TOKENS_MAP, TOKENIZER, TOKENIZER_CONFIG,
};
use crate::error::DataError;

/// Largest size of a file in bytes; the largest published `tokenizer.json` have about 40 MiB.
const LARGEST: u64 = 256 << 20;

/// The files of a tokenizer. Only the first is required.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`: special tokens, added tokens, `chat_template`.
    pub tokenizer_config: Option<Vec<u8>>,
    /// `special_tokens_map.json`; used only if `tokenizer_config.json` lists no added tokens.
    pub special_tokens_map: Option<Vec<u8>>,
    /// `added_tokens.json`; used only if `tokenizer_config.json` lists no added tokens.
    pub added_tokens: Option<Vec<u8>>,
    /// `chat_template.jinja`; has priority over the template in `tokenizer_config.json`.
    pub chat_template: Option<Vec<u8>>,
    /// `chat_template.json`, the file of image processors; used only if there is no other template.
    pub chat_template_json: Option<Vec<u8>>,
    /// The files of `additional_chat_templates/`, by name without `.jinja`.
    pub additional_chat_templates: Vec<(String, Vec<u8>)>,
    /// `generation_config.json`: `eos_token_id`.
    pub generation_config: Option<Vec<u8>>,
    /// `config.json`: `eos_token_id`.
    pub config: Option<Vec<u8>>,
}

impl TokenizerFiles {
    /// Reads the existing files of a directory.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Tokenizer`] if there is no `tokenizer.json`.
    pub fn from_dir(directory: &Path) -> Result<Self, DataError> {
        let optional = |name: &str| read(&directory.join(name));
        let Some(tokenizer) = optional(TOKENIZER)? else {
            return Err(DataError::Tokenizer {
                file: directory.join(TOKENIZER).display().to_string(),
                message: "no such file".to_owned(),
                hint: "a model directory in Hugging Face format has its tokenizer there".to_owned(),
            });
        };
        Ok(Self {
            tokenizer,
            tokenizer_config: optional(TOKENIZER_CONFIG)?,
            special_tokens_map: optional(SPECIAL_TOKENS_MAP)?,
            added_tokens: optional(ADDED_TOKENS)?,
            chat_template: optional(CHAT_TEMPLATE)?,
            chat_template_json: optional(CHAT_TEMPLATE_JSON)?,
            additional_chat_templates: additional(&directory.join(ADDITIONAL_TEMPLATES))?,
            generation_config: optional(GENERATION_CONFIG)?,
            config: optional(CONFIG)?,
        })
    }

    /// A digest of all files.
    pub(super) fn digest(&self) -> Sha256 {
        let mut digest = Sha256::new();
        let mut part = |bytes: Option<&[u8]>| {
            digest.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            digest.update(bytes.unwrap_or_default());
        };
        part(Some(&self.tokenizer));
        for bytes in [
            &self.tokenizer_config,
            &self.special_tokens_map,
            &self.added_tokens,
            &self.chat_template,
            &self.chat_template_json,
            &self.generation_config,
            &self.config,
        ] {
            part(bytes.as_deref());
        }
        for (name, bytes) in &self.additional_chat_templates {
            part(Some(name.as_bytes()));
            part(Some(bytes));
        }
        digest
    }
}

/// The templates of a directory, sorted by name.
fn additional(directory: &Path) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let at = |source| DataError::Io {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(at(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(at)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(name) = name.strip_suffix(".jinja")
            && let Some(bytes) = read(&path)?
        {
            found.push((name.to_owned(), bytes));
        }
    }
    found.sort();
    Ok(found)
}

/// The content of a regular file, if it exists. Other kinds of files are not opened: a pipe would block.
fn read(path: &Path) -> Result<Option<Vec<u8>>, DataError> {
    let at = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Ok(file) if file.is_file() => cadft_files::read_up_to(path, LARGEST).map(Some).map_err(at),
        Ok(_) => Err(at(io::Error::other("it is no regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(error)),
    }
}
