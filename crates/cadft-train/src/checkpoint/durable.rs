//! Files and directories that are on the disk, not only on their way to it.

use super::CheckpointError;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Every file below `directory`, as sorted paths relative to it, with `/` between components.
pub(crate) fn files(directory: &Path) -> Result<Vec<String>, CheckpointError> {
    let mut found = vec![];
    let mut left = vec![(directory.to_owned(), String::new())];
    while let Some((directory, prefix)) = left.pop() {
        for entry in fs::read_dir(&directory).map_err(CheckpointError::io("read", &directory))? {
            let entry = entry.map_err(CheckpointError::io("read", &directory))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                left.push((entry.path(), format!("{name}/")));
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Synchronises a file or a directory itself.
pub(crate) fn sync(path: &Path) -> Result<(), CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io("open", path))?;
    file.sync_all().map_err(CheckpointError::io("synchronise", path))
}

/// Synchronises `directory`, everything below it, and the entry of it in its parent.
pub(crate) fn sync_tree(directory: &Path) -> Result<(), CheckpointError> {
    let mut directories = vec![directory.to_owned()];
    for file in files(directory)? {
        let path = directory.join(file);
        sync(&path)?;
        directories.extend(path.parent().map(Path::to_owned));
    }
    directories.sort();
    directories.dedup();
    directories.iter().try_for_each(|directory| sync(directory))?;
    sync_parent(directory)
}

/// Synchronises the directory that `path` is an entry of.
pub(crate) fn sync_parent(path: &Path) -> Result<(), CheckpointError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync(Path::new(".")),
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// Writes a file under a temporary name, synchronises it, and renames it.
pub(crate) fn write(path: &Path, text: &[u8]) -> Result<(), CheckpointError> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).map_err(CheckpointError::io("create", &temporary))?;
    file.write_all(text)
        .and_then(|()| file.sync_all())
        .map_err(CheckpointError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(CheckpointError::io("rename", &temporary))?;
    sync_parent(path)
}

/// Removes a directory so that it is never seen half gone: it is renamed first.
pub(crate) fn remove(directory: &Path) -> Result<(), CheckpointError> {
    let doomed = hidden(directory, "old");
    remove_if_there(&doomed)?;
    fs::rename(directory, &doomed).map_err(CheckpointError::io("rename", directory))?;
    remove_if_there(&doomed)
}

/// Removes a directory that may be there.
pub(crate) fn remove_if_there(directory: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CheckpointError::io("remove", directory)(error))
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
    fs::rename(checkpoint, &aside).map_err(CheckpointError::io("rename", checkpoint))
}
