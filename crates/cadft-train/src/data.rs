//! How rows become the samples of a model: the one way that training, evaluation, scoring and rewriting share.

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

/// `$CADFT_CACHE`, else `cadft` in the user's cache directory, else in the directory of temporary files.
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

/// Makes samples of rows as a recipe says: under its chat template, with its mask, lengths and mixing.
///
/// Whatever reads rows for a model does it through this, so that the same rows are the same tokens everywhere.
#[derive(Debug)]
pub struct SampleReader {
    tokenizer: Tokenizer,
    options: TokenizeOptions,
    mixing: Mixing,
    /// The directory of `data.cache`; nothing for `"off"`.
    cache: Cache,
    /// Whether the user chose that directory. A run does not depend on one that the user did not choose.
    is_cache_chosen: bool,
}

/// A prompt with a known answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The row's id.
    pub id: String,
    /// Tokens of the prompt, up to where the answer begins.
    pub prompt_ids: Vec<u32>,
    /// The reference answer.
    pub answer: String,
}

impl SampleReader {
    /// Reads as `recipe` says; `tokenizer` is that of the model's directory.
    ///
    /// # Errors
    /// A template that does not fit the tokenizer.
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

    /// The tokenizer under the recipe's chat template.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The same, for keeps.
    #[must_use]
    pub fn into_tokenizer(self) -> Tokenizer {
        self.tokenizer
    }

    /// The mask, the longest sample, and what happens to longer ones.
    #[must_use]
    pub fn options(&self) -> &TokenizeOptions {
        &self.options
    }

    /// The samples of `sources`, kept for the next time as `data.cache` says; all fit the model. Without a source there
    /// are none.
    ///
    /// # Errors
    /// Whatever is wrong with the sources or their rows, and a sample that does not fit the model.
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
    /// As [`SampleReader::samples`], but for the model.
    pub fn rows_and_samples(&self, sources: &[Source]) -> Result<(Vec<Row>, Dataset), TrainError> {
        let rows = read_rows(&on_disk(sources)?, &self.mixing)?;
        let dataset = self.tokenize(&rows)?;
        Ok((rows, dataset))
    }

    /// The samples that rows become.
    ///
    /// # Errors
    /// As [`tokenize()`].
    pub fn tokenize(&self, rows: &[Row]) -> Result<Dataset, DataError> {
        tokenize(rows, &self.tokenizer, &self.options)
    }

    /// The first `limit` rows of `sources` that have an answer, as questions.
    ///
    /// # Errors
    /// A row whose prompt cannot be rendered, and fewer than one question where some were asked for.
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

/// The tokenizer with what `[data]` says about its chat template.
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

/// The longest template of an adapter that is read; the tokenizer refuses shorter ones.
const LARGEST_TEMPLATE: u64 = 16 << 20;

/// The tokenizer of an adapter: its own where its directory brings one, else that of its model, under the template that the
/// adapter was trained with where there is one. What ends an answer of the model ends one of the adapter.
///
/// # Errors
/// Files that cannot be read or used.
pub fn adapted_tokenizer(model: &Path, adapter: &Path) -> Result<Tokenizer, TrainError> {
    let read = |directory: &Path, name: &str| {
        let path = directory.join(name);
        match cadft_files::read_up_to(&path, LARGEST_TEMPLATE) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TrainError::from(DataError::Io { path, source })),
        }
    };
    // A template that only one of them has must not be read with the tokenizer of the other.
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

/// The sources with names on the Hub replaced by where they are on disk.
///
/// # Errors
/// As [`hub::resolve`].
pub fn on_disk(sources: &[Source]) -> Result<Vec<Source>, TrainError> {
    let resolved = |source: &Source| {
        let mut source = source.clone();
        // Other paths stay as they are written: a glob need not be a path.
        if source.path.starts_with("hf://") {
            source.path = hub::resolve(&source.path)?.to_string_lossy().into_owned();
        }
        Ok(source)
    };
    sources.iter().map(resolved).collect()
}

/// Every token must be a row of the embedding, and every sample fit the positions.
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
