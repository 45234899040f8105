//! The model of a run: the run's directory is one wherever a model is asked for.

use crate::checkpoint;
use crate::run_directory::RunDirectory;
use crate::run_files::{CHECKPOINTS, MODEL};
use std::path::{Path, PathBuf};

/// The directory of the model that `path` stands for: that of a run is the run's final model, before there is one that of its
/// newest checkpoint. `None` for a run that has neither; any other path stands for itself.
#[must_use]
pub fn model_of(path: &Path) -> Option<PathBuf> {
    if !RunDirectory::is_taken(path) {
        return Some(path.to_owned());
    }
    let model = path.join(MODEL);
    if model.is_dir() {
        return Some(model);
    }
    let newest = checkpoint::steps(path).ok()?.into_iter().max()?;
    Some(path.join(CHECKPOINTS).join(checkpoint::name(newest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_files::{CONFIG, ENVIRONMENT};
    use std::fs;

    #[test]
    fn a_run_stands_for_its_model_and_before_that_for_its_newest_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path();
        assert_eq!(model_of(run), Some(run.to_owned()), "it is no run yet");
        fs::write(run.join(CONFIG), "").unwrap();
        fs::write(
            run.join(ENVIRONMENT),
            "{\"format_version\": 1, \"cadft\": \"0.1.0\"}",
        )
        .unwrap();
        assert_eq!(model_of(run), None);
        for step in [7, 30] {
            fs::create_dir_all(run.join(CHECKPOINTS).join(checkpoint::name(step))).unwrap();
        }
        assert_eq!(
            model_of(run),
            Some(run.join(CHECKPOINTS).join(checkpoint::name(30)))
        );
        fs::create_dir(run.join(MODEL)).unwrap();
        assert_eq!(model_of(run), Some(run.join(MODEL)));
    }
}
