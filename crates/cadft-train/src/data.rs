//! The training data of a recipe: under its chat template, tokenised, and kept for the next run.

use crate::config::Recipe;
use crate::error::TrainError;
use cadft_data::{
    Cache, DataError, Example, Samples, Source, TokenizeOptions, Tokenizer, TokenizerFiles, load_samples,
};
use cadft_model::ModelConfig;
use cadft_model::checkpoint::has_tokenizer;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

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

impl Recipe {
    /// How rows become tokens.
    #[must_use]
    pub fn tokenize_options(&self) -> TokenizeOptions {
        TokenizeOptions {
            truncation: self.data.truncation,
            ..TokenizeOptions::new(self.data.max_length, self.data.mask)
        }
    }

    /// Where tokenised data is kept.
    fn cache(&self) -> Cache {
        match self.data.cache.as_str() {
            "off" => Cache::Off,
            "auto" => Cache::Directory(cache_directory().join("tokens")),
            directory => Cache::Directory(directory.into()),
        }
    }
}

/// The tokenizer with what the recipe says about its chat template.
pub(crate) fn chat_tokenizer(recipe: &Recipe, tokenizer: Tokenizer) -> Result<Tokenizer, TrainError> {
    let tokenizer = match recipe.data.template {
        Some(preset) => tokenizer.with_preset(preset)?,
        None => tokenizer,
    };
    if recipe.data.template_variables.is_empty() {
        return Ok(tokenizer);
    }
    let variables = serde_json::to_value(&recipe.data.template_variables);
    let variables = variables.ok().and_then(|value| value.as_object().cloned());
    Ok(tokenizer.with_template_variables(&variables.unwrap_or_default()))
}

/// The tokenizer of an adapter: its own where its directory brings one, else that of its model, under the template that the
/// adapter was trained with where there is one. What ends an answer of the model ends one of the adapter.
///
/// # Errors
/// Files that cannot be read or used.
pub fn adapted_tokenizer(model: &Path, adapter: &Path) -> Result<Tokenizer, TrainError> {
    let read = |directory: &Path, name: &str| {
        let path = directory.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TrainError::io(path)(error)),
        }
    };
    let either = |name: &str| match read(adapter, name)? {
        None => read(model, name),
        found => Ok(found),
    };
    let is_own = has_tokenizer(adapter);
    let of_tokenizer = if is_own { adapter } else { model };
    let Some(tokenizer) = read(of_tokenizer, "tokenizer.json")? else {
        return Ok(Tokenizer::from_dir(model)?);
    };
    Ok(Tokenizer::from_bytes(&TokenizerFiles {
        tokenizer,
        tokenizer_config: read(of_tokenizer, "tokenizer_config.json")?,
        // A template that only one of them has must not be read with the tokenizer of the other.
        chat_template: if is_own {
            read(adapter, "chat_template.jinja")?
        } else {
            either("chat_template.jinja")?
        },
        generation_config: either("generation_config.json")?,
        config: read(model, "config.json")?,
    })?)
}

/// The training samples in `sources`, where those of the recipe are on disk; all fit the model.
pub(crate) fn training_samples(
    recipe: &Recipe,
    sources: &[Source],
    tokenizer: &Tokenizer,
    config: &ModelConfig,
) -> Result<Samples, TrainError> {
    let options = recipe.tokenize_options();
    let load = |cache: &Cache| load_samples(sources, &recipe.mixing(), tokenizer, &options, cache);
    let cache = recipe.cache();
    let samples = match (load(&cache), &cache) {
        // Nobody asked for this directory: training does not depend on it.
        (Err(DataError::Io { path, source }), Cache::Directory(directory))
            if recipe.data.cache == "auto" && path.starts_with(directory) =>
        {
            tracing::warn!("tokenised data are not kept: `{}`: {source}", path.display());
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

/// Every token must be a row of the embedding, and every sample fit the positions.
///
/// # Errors
/// What does not fit.
pub(crate) fn check_sample(example: &Example, config: &ModelConfig) -> Result<(), TrainError> {
    let vocab = config.vocab_size;
    if let Some(id) = example.token_ids.iter().find(|&&id| id as usize >= vocab) {
        return Err(TrainError::Mismatch {
            message: format!(
                "sample `{}`: token id {id} is outside the model's vocabulary of {vocab}\n\
                 hint: the tokenizer does not belong to this model",
                example.id
            ),
        });
    }
    if example.token_ids.len() > config.max_position_embeddings {
        return Err(TrainError::Mismatch {
            message: format!(
                "sample `{}` has {} tokens; the model has {} positions\nhint: lower `data.max-length`",
                example.id,
                example.token_ids.len(),
                config.max_position_embeddings
            ),
        });
    }
    Ok(())
}
