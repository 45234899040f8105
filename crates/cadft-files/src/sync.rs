//! Synchronising files and directories to the disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Synchronises one file or directory, without its entries.
///
/// # Errors
/// Any error of the file system.
pub fn sync(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems cannot synchronise a directory, and do not need to.
        Err(error) if is_unsupported(&error) && path.is_dir() => Ok(()),
        synchronised => synchronised,
    }
}

/// Synchronises the parent directory of `path`.
///
/// # Errors
/// Any error of the file system.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync(parent_of(path))
}

/// Synchronises `directory` and everything below it. Links are not followed.
///
/// # Errors
/// Any error of the file system.
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

/// Gives a file the usual permissions of new files; some libraries create files that only the owner can read.
///
/// The permissions are taken from the parent directory, which must be new as well.
///
/// # Errors
/// Any error of the file system.
pub fn make_readable(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(parent_of(path))?.permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o666))?;
    }
    Ok(())
}

/// The parent directory of a path; the current directory for a bare name.
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
