//! Lists checkpoints, and removes old ones.

use super::{CheckpointError, durable};
use cadft_files::Action;
use std::fs;
use std::path::{Path, PathBuf};

/// The steps of the checkpoints in a directory, ascending; empty if there is no directory.
pub(crate) fn steps(directory: &Path) -> Result<Vec<usize>, CheckpointError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(CheckpointError::io(Action::Read, directory))?,
    };
    let mut steps: Vec<usize> = entries.filter_map(|entry| step_of(&entry.ok()?.path())).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The step in the directory name of a checkpoint; `None` for other names.
pub(crate) fn step_of(path: &Path) -> Option<usize> {
    let digits = path.file_name()?.to_str()?.strip_prefix("step-")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// Removes all checkpoints except the `keep` with the highest steps and those of the steps in `protected`.
pub(crate) fn rotate(directory: &Path, keep: usize, protected: &[usize]) -> Result<(), CheckpointError> {
    let steps = steps(directory)?;
    for step in steps.iter().rev().skip(keep.max(1)) {
        if !protected.contains(step) {
            durable::remove(&path_of(directory, *step)?)?;
        }
    }
    Ok(())
}

/// The path of the checkpoint of `step`, whatever the number of leading zeros in its name.
fn path_of(directory: &Path, step: usize) -> Result<PathBuf, CheckpointError> {
    let usual = directory.join(super::name(step));
    if usual.exists() {
        return Ok(usual);
    }
    let entries = fs::read_dir(directory).map_err(CheckpointError::io(Action::Read, directory))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.find(|path| step_of(path) == Some(step)).unwrap_or(usual))
}

/// Renames a complete directory to `place`, and replaces an existing one.
pub(crate) fn put_in_place(complete: &Path, place: &Path) -> Result<(), CheckpointError> {
    if place.exists() {
        durable::remove(place)?;
    }
    fs::rename(complete, place).map_err(CheckpointError::io(Action::Rename, complete))?;
    durable::sync_parent(place)
}

/// Removes unfinished checkpoints in `directory`, left by a process that was killed.
pub(crate) fn clean(directory: &Path) -> Result<(), CheckpointError> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_rest = [".partial", ".parts", ".old"]
            .iter()
            .any(|end| name.ends_with(end));
        if is_rest && name.trim_start_matches('.').starts_with("step-") {
            durable::remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_with(steps: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for step in steps {
            fs::create_dir(directory.path().join(step)).expect("a directory");
        }
        directory
    }

    #[test]
    fn rotation_goes_by_number_and_spares_the_best() {
        let names = [
            "step-000009",
            "step-000010",
            "step-000100",
            "step-1000000",
            "step-999999",
            "step-x",
        ];
        let directory = directory_with(&names);
        assert_eq!(steps(directory.path()).unwrap(), [9, 10, 100, 999_999, 1_000_000]);
        rotate(directory.path(), 2, &[10]).unwrap();
        assert_eq!(steps(directory.path()).unwrap(), [10, 999_999, 1_000_000]);
        rotate(directory.path(), 0, &[]).unwrap();
        assert_eq!(
            steps(directory.path()).unwrap(),
            [1_000_000],
            "the last one stays"
        );
        assert!(
            directory.path().join("step-x").exists(),
            "other names are not ours"
        );
    }

    #[test]
    fn what_a_killed_process_left_is_cleaned_and_nothing_else() {
        let names = [
            "step-000002",
            ".step-000003.partial",
            ".step-000001.old",
            ".step-000003.parts",
            "..step-000003.partial.partial",
            ".notes.old",
        ];
        let directory = directory_with(&names);
        clean(directory.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".notes.old", "step-000002"]);
    }
}
