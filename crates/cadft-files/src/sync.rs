//! What is on the disk, not only on its way to it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Synchronises a file or a directory itself.
///
/// # Errors
/// What the file system says.
pub fn sync(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems cannot do that with a directory, and need not.
        Err(error) if is_unsupported(&error) && path.is_dir() => Ok(()),
        synchronised => synchronised,
    }
}

/// Synchronises the directory that `path` is an entry of.
///
/// # Errors
/// What the file system says.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync(parent_of(path))
}

/// Synchronises everything below `directory`, and the directory. Links in it are left alone.
///
/// # Errors
/// What the file system says.
pub fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            sync(&entry.path())?;
        }
    }
    sync(directory)
}

/// Gives a file the permissions that other new files have, where a library made it readable by its owner only.
///
/// They are those of its directory, which must be new as well.
///
/// # Errors
/// What the file system says.
pub fn make_readable(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(parent_of(path))?.permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o666))?;
    }
    Ok(())
}

/// The directory that a path is in; the current one for a bare name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}
