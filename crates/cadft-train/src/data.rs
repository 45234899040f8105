//! Converts rows to the samples of a model. Training, evaluation, scoring and rewriting all use this code.

use crate::config::{DataSection, Recipe};
use crate::error::TrainError;
use crate::hub;
use cadft_data::{
    Cache, DataError, Dataset, Example, Mixing, Row, Samples, Source, TokenizeOptions, Tokenizer,
    TokenizerFiles, first_rows, load_samples, prompt_ids, read_rows, tokenize,
};
use cadft_model::ModelConfig;
use cadft_model::checkpoint::has_tokenizer;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, io};

/// `$CADFT_CACHE`, else `cadft` in the user's cache directory, else in the directory for temporary files.
#[must_use]
pub fn cache_directory() -> PathBuf {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("CADFT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|directory| directory.join("cadft")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/cadft")))
        .or_else(|| set("LOCALAPPDATA").map(|directory| directory.join("cadft")))
        .unwrap_or_else(|| env::temp_dir().join("cadft"))
}

/// Converts rows to samples as a recipe specifies: chat template, mask, lengths and mixing.
///
/// Every reader of rows uses this type, so that the same rows give the same tokens everywhere.
#[derive(Debug)]
pub struct SampleReader {
    tokenizer: Tokenizer,
    options: TokenizeOptions,
    mixing: Mixing,
    /// The directory of `data.cache`; none for `"off"`.
    cache: Cache,
    /// Whether the user chose that directory. A run must not depend on a directory that the user did not choose.
    is_cache_chosen: bool,
}

/// A prompt with a known answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The row's id.
    pub id: String,
    /// Tokens of the prompt, up to the beginning of the answer.
    pub prompt_ids: Vec<u32>,
    /// The reference answer.
    pub answer: String,
    /// The index of its source in the list of sources.
    pub source: usize,
}

impl SampleReader {
    /// A reader for `recipe`; `tokenizer` is the tokenizer of the model's directory.
    ///
    /// # Errors
    /// If the template does not fit the tokenizer.
    pub fn new(recipe: &Recipe, tokenizer: Tokenizer) -> Result<Self, TrainError> {
        let data = &recipe.data;
        Ok(Self {
            tokenizer: under_template(data, tokenizer)?,
            options: TokenizeOptions {
                truncation: data.truncation,
                ..TokenizeOptions::new(data.max_length, data.mask)
            },
            mixing: recipe.mixing(),
            cache: match data.cache.as_str() {
                "off" => Cache::Off,
                "auto" => Cache::Directory(cache_directory().join("tokens")),
                directory => Cache::Directory(directory.into()),
            },
            is_cache_chosen: data.cache != "auto",
        })
    }

    /// The tokenizer, with the recipe's chat template.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// As [`SampleReader::tokenizer`], by value.
    #[must_use]
    pub fn into_tokenizer(self) -> Tokenizer {
        self.tokenizer
    }

    /// The mask, the longest sample, and what happens to longer ones.
    #[must_use]
    pub fn options(&self) -> &TokenizeOptions {
        &self.options
    }

    /// The samples of `sources`, cached as `data.cache` says. All of them fit the model. Empty if there are no sources.
    ///
    /// # Errors
    /// Errors of the sources and their rows, and a sample that does not fit the model.
    pub fn samples(&self, sources: &[Source], config: &ModelConfig) -> Result<Samples, TrainError> {
        if sources.is_empty() {
            return Ok(Samples::default());
        }
        let sources = on_disk(sources)?;
        let load =
            |cache: &Cache| load_samples(&sources, &self.mixing, &self.tokenizer, &self.options, cache);
        let samples = match (load(&self.cache), &self.cache) {
            (
                Err(ref error @ (DataError::Io { ref path, .. } | DataError::Write { ref path, .. })),
                Cache::Directory(directory),
            ) if !self.is_cache_chosen && path.starts_with(directory) => {
                let why = error
                    .source()
                    .map_or_else(String::new, |source| format!(": {source}"));
                tracing::warn!("tokenised data are not kept: `{}`{why}", cadft_files::shown(path));
                load(&Cache::Off)?
            }
            (samples, _) => samples?,
        };
        let report = samples.report();
        let fits = report.longest <= config.max_position_embeddings;
        if !fits || report.largest_id as usize >= config.vocab_size {
            samples
                .iter()
                .try_for_each(|sample| check_sample(&sample, config))?;
        }
        Ok(samples)
    }

    /// All rows of `sources` and the samples that they become, in memory.
    ///
    /// # Errors
    /// As [`SampleReader::samples`], without the check against the model.
    pub fn rows_and_samples(&self, sources: &[Source]) -> Result<(Vec<Row>, Dataset), TrainError> {
        let rows = read_rows(&on_disk(sources)?, &self.mixing)?;
        let dataset = self.tokenize(&rows)?;
        Ok((rows, dataset))
    }

    /// The samples of `rows`.
    ///
    /// # Errors
    /// As [`tokenize()`].
    pub fn tokenize(&self, rows: &[Row]) -> Result<Dataset, DataError> {
        tokenize(rows, &self.tokenizer, &self.options)
    }

    /// The first `limit` rows of `sources` that have an answer, as questions.
    ///
    /// # Errors
    /// If a prompt cannot be rendered, or if `limit` is not 0 and no row has an answer.
    pub fn questions(&self, sources: &[Source], limit: usize) -> Result<Vec<Question>, TrainError> {
        if limit == 0 {
            return Ok(vec![]);
        }
        let has_answer = |row: &Row| row.answer.is_some();
        let questions = first_rows(&on_disk(sources)?, &self.mixing, limit, has_answer)?
            .into_iter()
            .map(|row| {
                Ok(Question {
                    prompt_ids: prompt_ids(&row, &self.tokenizer)?,
                    answer: row.answer.unwrap_or_default(),
                    id: row.id,
                    source: row.source,
                })
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        if questions.is_empty() {
            return Err(TrainError::mismatch(
                "no evaluation row has an `answer`",
                "add one, or set `evaluate.answers = 0`",
            ));
        }
        Ok(questions)
    }
}

/// The tokenizer with the chat template of `[data]`.
fn under_template(data: &DataSection, tokenizer: Tokenizer) -> Result<Tokenizer, TrainError> {
    let tokenizer = match data.template {
        Some(preset) => tokenizer.with_preset(preset)?,
        None => tokenizer,
    };
    if data.template_variables.is_empty() {
        return Ok(tokenizer);
    }
    let variables = serde_json::to_value(&data.template_variables);
    let variables = variables.ok().and_then(|value| value.as_object().cloned());
    Ok(tokenizer.with_template_variables(&variables.unwrap_or_default()))
}

/// Largest template file of an adapter that is read, in bytes. The tokenizer has a lower limit.
const LARGEST_TEMPLATE: u64 = 16 << 20;

/// The tokenizer of an adapter: its own if its directory has one, else its model's. The chat template and the stop
/// tokens of the adapter take precedence over those of the model.
///
/// # Errors
/// If files cannot be read or used.
pub fn adapted_tokenizer(model: &Path, adapter: &Path) -> Result<Tokenizer, TrainError> {
    let read = |directory: &Path, name: &str| {
        let path = directory.join(name);
        match cadft_files::read_up_to(&path, LARGEST_TEMPLATE) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TrainError::from(DataError::Io { path, source })),
        }
    };
    // The files of one tokenizer must come from the same directory: a template of the other may not fit it.
    let mut files = if has_tokenizer(adapter) {
        TokenizerFiles::from_dir(adapter)?
    } else {
        let template = read(adapter, "chat_template.jinja")?;
        let files = TokenizerFiles::from_dir(model)?;
        TokenizerFiles {
            chat_template: template.or(files.chat_template),
            ..files
        }
    };
    let of_adapter = read(adapter, "generation_config.json")?;
    files.generation_config =
        of_adapter.map_or_else(|| read(model, "generation_config.json"), |own| Ok(Some(own)))?;
    files.config = read(model, "config.json")?;
    Ok(Tokenizer::from_bytes(&files)?)
}

/// The sources, with names on the Hub replaced by paths on disk.
///
/// # Errors
/// As [`hub::resolve`].
pub fn on_disk(sources: &[Source]) -> Result<Vec<Source>, TrainError> {
    let resolved = |source: &Source| {
        let mut source = source.clone();
        // Other paths stay as they are written: they may be globs.
        if source.path.starts_with("hf://") {
            source.path = hub::resolve(&source.path)?.to_string_lossy().into_owned();
        }
        Ok(source)
    };
    sources.iter().map(resolved).collect()
}

/// Checks that every token is a row of the embedding, and that the sample is not longer than the model's positions.
fn check_sample(example: &Example, config: &ModelConfig) -> Result<(), TrainError> {
    let vocab = config.vocab_size;
    if let Some(id) = example.token_ids.iter().find(|&&id| id as usize >= vocab) {
        let name = example.origin.name_of(&example.id);
        return Err(TrainError::mismatch(
            format!("{name}: token id {id} is outside the model's vocabulary of {vocab}"),
            "the tokenizer does not belong to this model",
        ));
    }
    if example.token_ids.len() > config.max_position_embeddings {
        return Err(TrainError::mismatch(
            format!(
                "{} has {} tokens; the model has {} positions",
                example.origin.name_of(&example.id),
                example.token_ids.len(),
                config.max_position_embeddings
            ),
            "lower `data.max-length`",
        ));
    }
    Ok(())
}
