//! Reads a checkpoint: verifies it, then restores it bit for bit.

use super::parameters;
use super::{
    CheckpointError, FORMAT_VERSION, Manifest, PARAMETERS, REFERENCE, STATE, TrainingState, rotate, shards,
    tensors,
};
use crate::run_files::CHECKPOINTS;
use burn::tensor::TensorData;
use cadft_files::Action;
use cadft_model::CausalLm;
use cadft_step::Ranks;
use cadft_step::optimizer::{Optimizer, STATE_PARTS};
use cadft_step::ranks::Owned;
use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// A checkpoint whose files have all been verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// Its directory.
    pub path: PathBuf,
    /// The state of the run.
    pub state: TrainingState,
    manifest: Manifest,
}

/// Verifies the checkpoint in `path` against its manifest and reads its state.
///
/// # Errors
/// [`CheckpointError::Damaged`] for the first file that is missing, truncated or changed.
pub fn open(path: &Path) -> Result<Restored, CheckpointError> {
    let manifest = Manifest::verify(path)?;
    let file = path.join(STATE);
    let text = cadft_files::open(&file).map_err(CheckpointError::io(Action::Read, &file))?;
    // Not read into memory first: a sparse file may have any size.
    let state: TrainingState = serde_json::from_reader(BufReader::new(text))
        .map_err(|error| CheckpointError::damaged(&file, &error))?;
    if state.format_version != FORMAT_VERSION {
        let message = format!(
            "`format_version` is {}; this program reads {FORMAT_VERSION}",
            state.format_version
        );
        return Err(CheckpointError::damaged(&file, &message));
    }
    Ok(Restored {
        path: path.to_owned(),
        state,
        manifest,
    })
}

/// The steps of the checkpoints in the run directory `run`, complete or not, ascending.
///
/// # Errors
/// If the directory cannot be read.
pub fn steps(run: &Path) -> Result<Vec<usize>, CheckpointError> {
    rotate::steps(&run.join(CHECKPOINTS))
}

/// The newest complete and undamaged checkpoint in the run directory `run`, and the errors of newer ones.
///
/// # Errors
/// If the directory cannot be read.
pub fn newest(run: &Path) -> Result<(Option<Restored>, Vec<CheckpointError>), CheckpointError> {
    let mut damaged = vec![];
    for step in steps(run)?.into_iter().rev() {
        match open(&run.join(CHECKPOINTS).join(super::name(step))) {
            Ok(restored) => return Ok((Some(restored), damaged)),
            Err(error) => damaged.push(error),
        }
    }
    Ok((None, damaged))
}

impl Restored {
    /// `model` with the trained parameters of the checkpoint.
    pub(crate) fn model(&self, model: CausalLm) -> Result<CausalLm, CheckpointError> {
        let (model, missing) = parameters::restore(model, self.parameters()?);
        match missing.first() {
            None => Ok(model),
            Some(name) => {
                let message = format!(
                    "{} trained parameters have no values of their shape in it, `{name}` first",
                    missing.len()
                );
                Err(CheckpointError::damaged(&self.path, &message))
            }
        }
    }

    fn parameters(&self) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
        if self.manifest.files.contains_key(PARAMETERS) {
            return tensors::read(&self.path.join(PARAMETERS));
        }
        let mut all = BTreeMap::new();
        let is_model = |name: &str| !name.contains('/') && name.ends_with(".safetensors");
        for name in self.manifest.files.keys().filter(|name| is_model(name)) {
            all.extend(tensors::read(&self.path.join(name))?);
        }
        Ok(all)
    }

    /// What a frozen model says of the tokens of later steps, by step, and the file that holds it; nothing where there is none.
    pub(crate) fn reference(&self) -> Result<(PathBuf, BTreeMap<String, TensorData>), CheckpointError> {
        let file = self.path.join(REFERENCE);
        let tensors = if self.manifest.files.contains_key(REFERENCE) {
            tensors::read(&file)?
        } else {
            BTreeMap::new()
        };
        Ok((file, tensors))
    }

    /// Restores the moments that belong to the parameters of this rank.
    pub(crate) fn optimizer(
        &self,
        optimizer: &mut Optimizer,
        model: &CausalLm,
        ranks: &Ranks,
    ) -> Result<(), CheckpointError> {
        let mut state = shards::read(&self.path, &self.manifest, ranks)?;
        let others = ranks.owned(model).into_iter();
        for (name, _) in others.filter(|(_, owned)| *owned == Owned::Not) {
            for part in STATE_PARTS {
                state.remove(&format!("{name}.{part}"));
            }
        }
        let unknown = optimizer.load_state(model, state);
        match unknown.first() {
            None => Ok(()),
            Some(name) => {
                let message =
                    format!("`{name}` belongs to no trained parameter of this model under `optimizer.kind`");
                Err(CheckpointError::damaged(&self.path, &message))
            }
        }
    }
}
