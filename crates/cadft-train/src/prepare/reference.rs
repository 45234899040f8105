//! The frozen model of `[reference]`, before it is read.

use crate::config::Recipe;
use crate::error::TrainError;
use crate::hub;
use crate::plan::memory::OtherModel;
use crate::run_model::model_of;
use cadft_model::{ModelConfig, checkpoint};
use std::path::{Path, PathBuf};

/// The directory of the frozen model, if it is not the one that the run begins with and the objective looks at one. It must know the
/// same tokens as `model`.
pub(super) fn directory(
    recipe: &Recipe,
    (model, config): (&Path, &ModelConfig),
) -> Result<Option<PathBuf>, TrainError> {
    let Some(path) = recipe
        .reference
        .model
        .as_ref()
        .filter(|_| recipe.frozen().is_some())
    else {
        return Ok(None);
    };
    let found = hub::resolve(path)?;
    let directory = model_of(&found).unwrap_or(found);
    let place = cadft_files::shown(&directory);
    if !directory.is_dir() {
        let hint =
            checkpoint::hint_for(&directory).unwrap_or("give the path of a Hugging Face model directory");
        return Err(TrainError::mismatch(
            format!("`reference.model`: `{place}` is not a directory"),
            hint,
        ));
    }
    let vocab_size = ModelConfig::from_file(&directory.join("config.json"))?.vocab_size;
    let tokenizer = |directory: &Path| cadft_files::read(&directory.join("tokenizer.json")).ok();
    let are_same = match (tokenizer(&directory), tokenizer(model)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    if vocab_size != config.vocab_size || !are_same {
        return Err(TrainError::mismatch(
            format!("`reference.model`: `{place}` has another tokenizer than the model"),
            "a frozen model says something of the tokens of the model; name one with the same `tokenizer.json`",
        ));
    }
    Ok(Some(directory))
}

/// The size of the frozen model in `directory`.
pub(super) fn other(recipe: &Recipe, directory: Option<&Path>) -> Result<Option<OtherModel>, TrainError> {
    let Some(directory) = directory else {
        return Ok(None);
    };
    let config = ModelConfig::from_file(&directory.join("config.json"))?;
    Ok(Some(OtherModel::new(&config, recipe.keeps_frozen())))
}
