//! A Hugging Face tokenizer with the related settings of a model directory: special tokens, stop tokens, chat template.

mod budget;
mod config;
mod ends;
mod fast;
mod files;
mod keys;
mod special;
mod templates;
mod vocabulary;
mod words;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokenizers::processors::PostProcessorWrapper;

use crate::error::DataError;
use crate::row::Message;
use crate::template::{ChatTemplate, GenerationPrompt, Preset, RowTemplate, TemplateTime};
pub(crate) use budget::LONGEST as LONGEST_TEXT;
use budget::guarded;
use config::{
    CHAT_TEMPLATE, CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG, eos_token_ids, failed, invalid,
    json_object, key,
};
use fast::FastBpe;
pub use files::TokenizerFiles;
use templates::Templates;

/// How decoded text treats special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are part of the text.
    Keep,
    /// They are left out.
    Skip,
}

/// Converts text to ids and back, and conversations to text.
///
/// The post-processor of `tokenizer.json` is not run. The ids that it puts around a text are determined once and added
/// by [`Tokenizer::encode_with_special`]. So offsets stay exact; byte-level post-processors would trim them. Truncation
/// and padding settings in `tokenizer.json` are ignored.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    fast: Option<FastBpe>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    special: HashSet<u32>,
    /// Tokens that are matched in a text before it is split, special or not.
    added: HashSet<u32>,
    eos: Option<u32>,
    stop: Vec<u32>,
    bos: Option<String>,
    eos_text: Option<String>,
    templates: Option<Templates>,
    /// Upper bound of the factor by which the normaliser lengthens a text.
    growth: f64,
    /// A digest of the files and of later changes.
    fingerprint: Sha256,
}

/// The ids of a text, and the byte range of each.
#[derive(Debug, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    pub(crate) offsets: Vec<(usize, usize)>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Loads the tokenizer of a model directory.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Tokenizer`], naming the file and the key.
    pub fn from_dir(directory: &Path) -> Result<Self, DataError> {
        Self::from_bytes(&TokenizerFiles::from_dir(directory)?)
    }

    /// Creates a tokenizer from the contents of its files.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`], naming the file and the key.
    pub fn from_bytes(files: &TokenizerFiles) -> Result<Self, DataError> {
        let config = json_object(TOKENIZER_CONFIG, files.tokenizer_config.as_deref())?;
        let generation_config = json_object(GENERATION_CONFIG, files.generation_config.as_deref())?;
        let model_config = json_object(CONFIG, files.config.as_deref())?;
        keys::check(&config)?;
        let hint = "is it the file of a fast tokenizer, and complete?";
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(&files.tokenizer))?
            .map_err(|error| invalid(TOKENIZER, &error.to_string(), hint))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(failed)?;
        vocabulary::check(&inner)?;
        let growth = budget::growth(&inner)?;
        let special_tokens = special::SpecialTokens::read(files, &config)?;
        let token = |name: &str| special_tokens.text(name);
        let id = |name: &str| token(name).and_then(|token| inner.token_to_id(token));
        // Tokens added below have no trained weights in the model, so they cannot end a sequence.
        let mut eos = id("eos_token");
        if let (Some(token), None) = (token("eos_token"), eos) {
            let message = format!("`{token}` is not in the vocabulary of `{TOKENIZER}`");
            let file = key(TOKENIZER_CONFIG, "eos_token");
            return Err(invalid(&file, &message, "the two files belong to one model"));
        }
        guarded(|| special_tokens.add_to(&mut inner))??;
        let (prefix, suffix) = surrounding(&inner)?;
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let mut stop: Vec<u32> = eos.into_iter().collect();
        for (file, config) in [(GENERATION_CONFIG, &generation_config), (CONFIG, &model_config)] {
            for id in eos_token_ids(file, config)? {
                eos.get_or_insert(id);
                push_new(&mut stop, id);
            }
        }
        let tokens = inner.get_added_tokens_decoder();
        let added = tokens.keys().copied().collect();
        let special = tokens
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| *id)
            .collect();
        let templates = Templates::read(files, &config, &special_tokens.variables())?;
        let eos_text = eos.and_then(|id| inner.id_to_token(id));
        let mut tokenizer = Self {
            fast: FastBpe::new(&inner),
            inner,
            prefix,
            suffix,
            special,
            added,
            eos,
            stop,
            bos: token("bos_token").map(str::to_owned),
            eos_text,
            templates,
            growth,
            fingerprint: files.digest(),
        };
        if let Some(id) = tokenizer.turn_end() {
            push_new(&mut tokenizer.stop, id);
        }
        Ok(tokenizer)
    }

    /// The ids of a text, without added tokens.
    ///
    /// # Errors
    /// [`DataError::Encoding`]; [`DataError::Conversation`] for a text of more than 4 MiB.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, DataError> {
        Ok(self.encode(text)?.ids)
    }

    /// The ids of a text with the special tokens that the tokenizer puts around it, often a BOS. Tokens that the text
    /// already has at its start or end are not added again.
    ///
    /// # Errors
    /// [`DataError::Encoding`].
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut ids = self.encode(text)?.ids;
        ids.splice(0..0, self.missing_prefix(&ids).iter().copied());
        if !ids.ends_with(&self.suffix) {
            ids.extend(&self.suffix);
        }
        Ok(ids)
    }

    /// The text of token ids.
    ///
    /// # Errors
    /// [`DataError::Encoding`].
    pub fn decode(&self, ids: &[u32], special_tokens: SpecialTokens) -> Result<String, DataError> {
        guarded(|| self.inner.decode(ids, special_tokens == SpecialTokens::Skip))?.map_err(failed)
    }

    /// The end-of-sequence token: `eos_token` of `tokenizer_config.json`, otherwise `eos_token_id` of
    /// `generation_config.json` or `config.json`.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.eos
    }

    /// The tokens that end an answer: every `eos_token_id` in the model's files, and the special token with which the
    /// chat template ends an assistant turn.
    pub fn stop_token_ids(&self) -> &[u32] {
        &self.stop
    }

    /// Whether a token is special, such as the start or the end of a turn.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Whether a token is matched in a text before the text is split. Such a token may include adjacent whitespace.
    pub(crate) fn is_added(&self, id: u32) -> bool {
        self.added.contains(&id)
    }

    /// The token with this id, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token, as the vocabulary writes it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of tokens, including added ones.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Renders a conversation without tools with the model's chat template.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if there is no chat template; otherwise as [`ChatTemplate::render`].
    pub fn render_chat(&self, messages: &[Message], prompt: GenerationPrompt) -> Result<String, DataError> {
        self.chat_template()?.render(messages, &[], prompt)
    }

    /// The chat template of the model; of several, the one for conversations without tools.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if there is none.
    pub fn chat_template(&self) -> Result<&ChatTemplate, DataError> {
        self.templates().map(Templates::default)
    }

    /// The chat template for a row with these tools and variables.
    pub(crate) fn row_template<'a>(
        &'a self,
        tools: &[Value],
        variables: &'a Map<String, Value>,
    ) -> Result<RowTemplate<'a>, DataError> {
        Ok(RowTemplate::new(self.templates()?.with_tools(tools), variables))
    }

    /// The time that the chat template writes; `None` if it does not write the time.
    ///
    /// It is the time at which the tokenizer was created. A reproducible run must store it.
    pub fn template_time(&self) -> Option<TemplateTime> {
        self.templates.as_ref()?.all().find_map(ChatTemplate::time)
    }

    /// The same tokenizer with another time for its chat template.
    #[must_use]
    pub fn with_template_time(mut self, time: TemplateTime) -> Self {
        self.templates = self.templates.map(|templates| templates.with_time(time));
        self
    }

    fn templates(&self) -> Result<&Templates, DataError> {
        self.templates.as_ref().ok_or_else(|| {
            let hint = format!(
                "put one into `{CHAT_TEMPLATE}` beside `{TOKENIZER}`, or train on `prompt` and `completion`"
            );
            invalid(
                &key(TOKENIZER_CONFIG, "chat_template"),
                "the model has no chat template",
                &hint,
            )
        })
    }

    /// The same tokenizer with a chat template of this crate, which replaces an existing one.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if a token of the template is not in the vocabulary, or if the template needs an
    /// end-of-sequence token and there is none.
    pub fn with_preset(mut self, preset: Preset) -> Result<Self, DataError> {
        let hint = "choose another template, or add the token to the tokenizer and train its embedding";
        let missing = |token: &&str| self.inner.token_to_id(token).is_none();
        if let Some(token) = preset.tokens().iter().copied().find(missing) {
            let message = format!("the chat template `{preset}` needs the token `{token}`");
            return Err(invalid(TOKENIZER, &message, hint));
        }
        if preset.tokens().is_empty() && self.eos.is_none() {
            let message = format!("the chat template `{preset}` needs an end-of-sequence token");
            return Err(invalid(&key(TOKENIZER_CONFIG, "eos_token"), &message, hint));
        }
        let special = [("bos_token", &self.bos), ("eos_token", &self.eos_text)];
        let special: Vec<(&str, String)> = special
            .into_iter()
            .map(|(name, token)| (name, token.clone().unwrap_or_default()))
            .collect();
        let time = self.template_time();
        self.templates = Some(Templates::one(ChatTemplate::new(preset.source(), &special)?));
        if let Some(time) = time {
            self = self.with_template_time(time);
        }
        self.fingerprint.update(preset.source());
        if let Some(id) = self.turn_end() {
            push_new(&mut self.stop, id);
        }
        Ok(self)
    }

    /// The same tokenizer with additional variables for its chat template, such as `enable_thinking`.
    #[must_use]
    pub fn with_template_variables(mut self, variables: &Map<String, Value>) -> Self {
        self.templates = self
            .templates
            .map(|templates| templates.with_variables(variables));
        self.fingerprint
            .update(Value::from(variables.clone()).to_string());
        self
    }

    /// A digest of everything that affects ids: the files, the chat template with its variables, and the date if the
    /// template writes it.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut digest = self.fingerprint.clone();
        let templates = self.templates.iter().flat_map(Templates::all);
        for time in templates.filter_map(ChatTemplate::time_key) {
            digest.update(time);
        }
        digest.finalize().into()
    }

    pub(crate) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    pub(crate) fn encode(&self, text: &str) -> Result<Encoded, DataError> {
        budget::check(text, self.growth)?;
        if let Some(fast) = &self.fast
            && let Some(encoded) = guarded(|| fast.encode(&self.inner, text))?
        {
            return Ok(encoded);
        }
        self.encode_slowly(text)
    }

    /// Encodes with the `tokenizers` crate itself.
    fn encode_slowly(&self, text: &str) -> Result<Encoded, DataError> {
        let encoding = guarded(|| self.inner.encode(text, false))?.map_err(failed)?;
        Ok(Encoded {
            ids: encoding.get_ids().to_vec(),
            offsets: encoding.get_offsets().to_vec(),
        })
    }

    /// The ids that the tokenizer puts before a text; empty if `ids` starts with them.
    pub(crate) fn missing_prefix(&self, ids: &[u32]) -> &[u32] {
        if ids.starts_with(&self.prefix) {
            &[]
        } else {
            &self.prefix
        }
    }

    /// Number of ids that the tokenizer puts before a text.
    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }
}

/// The ids that the post-processor puts before and after a text.
fn surrounding(inner: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), DataError> {
    let encoding = guarded(|| inner.encode("a", true))?.map_err(failed)?;
    let (ids, added) = (encoding.get_ids(), encoding.get_special_tokens_mask());
    Ok(
        match (
            added.iter().position(|&added| added == 0),
            added.iter().rposition(|&added| added == 0),
        ) {
            (Some(first), Some(last)) => (ids[..first].to_vec(), ids[last + 1..].to_vec()),
            _ => (Vec::new(), Vec::new()),
        },
    )
}

fn push_new(ids: &mut Vec<u32>, id: u32) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

#[cfg(test)]
mod tests;
