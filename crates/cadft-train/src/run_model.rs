//! Finds the model of a run directory, which can be used in place of a model directory.

use crate::run_files::{CHECKPOINTS, CONFIG, ENVIRONMENT, MODEL};
use cadft_model::checkpoint;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Whether `path` is a run directory: it has a recipe, and an environment written by this program.
pub(crate) fn is_run(path: &Path) -> bool {
    path.join(CONFIG).is_file() && has_environment(path)
}

pub(crate) fn has_environment(path: &Path) -> bool {
    let text = cadft_files::read_up_to(&path.join(ENVIRONMENT), 1 << 20).unwrap_or_default();
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    value["format_version"].is_u64() && value["cadft"].is_string()
}

/// The model directory for `path`. For a run directory: its final model, else its newest checkpoint, else `None`. For
/// any other path: `path` itself.
#[must_use]
pub fn model_of(path: &Path) -> Option<PathBuf> {
    if !is_run(path) {
        return Some(path.to_owned());
    }
    let model = path.join(MODEL);
    if model.is_dir() {
        return Some(model);
    }
    let checkpoints = path.join(CHECKPOINTS);
    let step = |name: &String| name.strip_prefix("step-")?.parse::<usize>().ok();
    let names = cadft_files::entries(&checkpoints).ok()?;
    let newest = names
        .iter()
        .filter(|name| step(name).is_some())
        .max_by_key(|name| step(name))?;
    Some(checkpoints.join(newest))
}

/// What to do about a path that is no model directory.
#[must_use]
pub fn instead_of_model(path: &Path) -> String {
    if let Some(hint) = checkpoint::hint_for(path) {
        return hint.to_owned();
    }
    if let Some(similar) = cadft_files::similar(path) {
        return format!("did you mean `{}`?", cadft_files::shown(&similar));
    }
    let name = cadft_files::shown(path).to_string();
    // As a repository of the Hub is called.
    let is_part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_name = name.split_once('/').is_some_and(|(owner, name)| {
        is_part(owner) && is_part(name) && !name.contains('/') && !Path::new(owner).exists()
    });
    if is_name {
        return format!("a model of the Hugging Face Hub is `hf://{name}`");
    }
    "give the path of a Hugging Face model directory, or `hf://OWNER/NAME`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_name_of_the_hub_is_told_from_a_path() {
        for (path, hint) in [
            (
                "HuggingFaceTB/SmolLM2-135M",
                "is `hf://HuggingFaceTB/SmolLM2-135M`",
            ),
            ("nowhere", "give the path"),
            ("/nowhere/model", "give the path"),
            ("./nowhere/model", "give the path"),
            ("src/absent-model", "give the path"),
            ("a/b/c", "give the path"),
        ] {
            let said = instead_of_model(Path::new(path));
            assert!(said.contains(hint), "{path}: {said}");
        }
    }

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
            fs::create_dir_all(run.join(CHECKPOINTS).join(format!("step-{step:06}"))).unwrap();
        }
        assert_eq!(model_of(run), Some(run.join(CHECKPOINTS).join("step-000030")));
        fs::create_dir(run.join(MODEL)).unwrap();
        assert_eq!(model_of(run), Some(run.join(MODEL)));
    }
}
