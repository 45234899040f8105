//! Checks whether a directory can hold a new run, and prepares it.

use crate::checkpoint::rotate;
use crate::error::TrainError;
use crate::prepare::Prepared;
use crate::run_files::{CHECKPOINTS, ENVIRONMENT, LOCK, MODEL, TENSORBOARD};
use crate::run_model::{has_environment, is_run};
use std::fs;
use std::path::Path;

/// Refuses a directory that holds more than the remains of a run that was interrupted at its start.
pub(super) fn refuse_others(path: &Path) -> Result<(), TrainError> {
    if is_run(path) {
        return Err(TrainError::RunExists(path.to_owned()));
    }
    let mut others = cadft_files::entries(path).map_err(TrainError::io(path))?;
    others.retain(|name| !is_rest(path, name));
    if others.is_empty() {
        return Ok(());
    }
    Err(TrainError::Occupied {
        path: path.to_owned(),
        entries: others,
    })
}

/// Prepares a run directory for writing: refuses parts that are links, and removes the remains of a killed process.
pub(super) fn prepare(path: &Path) -> Result<(), TrainError> {
    for name in [CHECKPOINTS, TENSORBOARD] {
        let part = path.join(name);
        cadft_files::refuse_link(&part).map_err(TrainError::io(&part))?;
    }
    rotate::clean(&path.join(CHECKPOINTS))?;
    cadft_files::clean(path).map_err(TrainError::io(path))?;
    for name in cadft_files::entries(path).map_err(TrainError::io(path))? {
        let is_ended = name.ends_with(".partial") || name.ends_with(".old");
        if is_ended && name.starts_with(&format!(".{MODEL}.")) {
            let rest = path.join(name);
            fs::remove_dir_all(&rest).map_err(TrainError::io(rest))?;
        }
    }
    Ok(())
}

/// Refuses a run that would overwrite the model that it starts from, or remove it as an old checkpoint.
pub(super) fn refuse_own_model(path: &Path, prepared: &Prepared) -> Result<(), TrainError> {
    let model = &prepared.model_directory;
    let written = [MODEL, CHECKPOINTS].map(|name| path.join(name));
    let Some(place) = written.iter().find(|place| cadft_files::is_within(model, place)) else {
        return Ok(());
    };
    Err(TrainError::mismatch(
        format!(
            "`model.path`: `{}` is in `{}`, which this run writes",
            cadft_files::shown(&model),
            cadft_files::shown(&place)
        ),
        "choose another directory with `--out DIR`, or copy the model",
    ))
}

/// Whether an entry is left over from a run that was interrupted at its start.
fn is_rest(path: &Path, name: &str) -> bool {
    let is_file = || fs::symlink_metadata(path.join(name)).is_ok_and(|found| found.is_file());
    match name {
        LOCK => is_file(),
        ENVIRONMENT => is_file() && has_environment(path),
        _ => cadft_files::is_temporary(name) && is_file(),
    }
}
