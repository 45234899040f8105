//! File operations for checkpoints that wait until the data are on the disk.

use super::CheckpointError;
use cadft_files::Action;
use std::fs;
use std::path::{Path, PathBuf};

/// All files below `directory`, as sorted relative paths with `/` between components. Links to directories are not
/// followed.
pub(crate) fn files(directory: &Path) -> Result<Vec<String>, CheckpointError> {
    let mut found = vec![];
    let mut left = vec![(directory.to_owned(), String::new())];
    while let Some((directory, prefix)) = left.pop() {
        let read = CheckpointError::io(Action::Read, &directory);
        let entries: Result<Vec<_>, _> = fs::read_dir(&directory).and_then(Iterator::collect);
        for entry in entries.map_err(read)? {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push((entry.path(), format!("{name}/")));
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Synchronises `directory`, everything below it, and its entry in its parent.
pub(crate) fn sync_tree(directory: &Path) -> Result<(), CheckpointError> {
    cadft_files::sync_tree(directory)
        .and_then(|()| cadft_files::sync_parent(directory))
        .map_err(CheckpointError::io(Action::Synchronise, directory))
}

/// Synchronises the parent directory of `path`.
pub(crate) fn sync_parent(path: &Path) -> Result<(), CheckpointError> {
    cadft_files::sync_parent(path).map_err(CheckpointError::io(Action::Synchronise, path))
}

/// Writes a whole file, and replaces an existing one.
pub(crate) fn write(path: &Path, text: &[u8]) -> Result<(), CheckpointError> {
    cadft_files::write(path, text).map_err(CheckpointError::io(Action::Write, path))
}

/// Removes a directory. It is renamed first, so that no partly removed directory is ever visible under its name.
pub(crate) fn remove(directory: &Path) -> Result<(), CheckpointError> {
    let doomed = hidden(directory, "old");
    remove_if_there(&doomed)?;
    fs::rename(directory, &doomed).map_err(CheckpointError::io(Action::Rename, directory))?;
    remove_if_there(&doomed)
}

/// Removes a directory if it exists.
pub(crate) fn remove_if_there(directory: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CheckpointError::io(Action::Remove, directory)(error))
        }
        _ => Ok(()),
    }
}

/// `.NAME.SUFFIX` next to `path`. Such a name is never a checkpoint's.
pub(crate) fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// Renames a damaged checkpoint, so that it no longer counts as one but can still be inspected.
pub(crate) fn set_aside(checkpoint: &Path) -> Result<(), CheckpointError> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let aside = checkpoint.with_file_name(format!("{name}.damaged"));
    remove_if_there(&aside)?;
    fs::rename(checkpoint, &aside).map_err(CheckpointError::io(Action::Rename, checkpoint))
}
