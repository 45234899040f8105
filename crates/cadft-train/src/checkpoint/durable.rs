//! Files and directories of checkpoints that are on the disk, not only on their way to it.

use super::CheckpointError;
use cadft_files::Action;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below `directory`, as sorted paths relative to it, with `/` between components. Links to directories are
/// not followed.
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

/// Synchronises `directory`, everything below it, and the entry of it in its parent.
pub(crate) fn sync_tree(directory: &Path) -> Result<(), CheckpointError> {
    cadft_files::sync_tree(directory)
        .and_then(|()| cadft_files::sync_parent(directory))
        .map_err(CheckpointError::io(Action::Synchronise, directory))
}

/// Synchronises the directory that `path` is an entry of.
pub(crate) fn sync_parent(path: &Path) -> Result<(), CheckpointError> {
    cadft_files::sync_parent(path).map_err(CheckpointError::io(Action::Synchronise, path))
}

/// Writes a whole file, in place of the one that may be there.
pub(crate) fn write(path: &Path, text: &[u8]) -> Result<(), CheckpointError> {
    cadft_files::write(path, text).map_err(CheckpointError::io(Action::Write, path))
}

/// Removes a directory so that it is never seen half gone: it is renamed first.
pub(crate) fn remove(directory: &Path) -> Result<(), CheckpointError> {
    let doomed = hidden(directory, "old");
    remove_if_there(&doomed)?;
    fs::rename(directory, &doomed).map_err(CheckpointError::io(Action::Rename, directory))?;
    remove_if_there(&doomed)
}

/// Removes a directory that may be there.
pub(crate) fn remove_if_there(directory: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CheckpointError::io(Action::Remove, directory)(error))
        }
        _ => Ok(()),
    }
}

/// `.NAME.SUFFIX` beside `path`: never taken for a checkpoint.
pub(crate) fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// Renames a damaged checkpoint so that it is no longer taken for one, and stays for those who want to look at it.
pub(crate) fn set_aside(checkpoint: &Path) -> Result<(), CheckpointError> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let aside = checkpoint.with_file_name(format!("{name}.damaged"));
    remove_if_there(&aside)?;
    fs::rename(checkpoint, &aside).map_err(CheckpointError::io(Action::Rename, checkpoint))
}
