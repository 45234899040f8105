//! A file that is written under a temporary name beside its place, brought to the disk, and renamed.

use crate::sync::{parent_of, sync_parent};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

const PREFIX: &str = ".cadft-";
const SUFFIX: &str = ".tmp";

/// A file under construction. It is removed where it is not finished.
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// A place that is taken by anything but a file or a link to one, and what the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        refuse_special(path)?;
        Ok(Self {
            temporary: temporary(path)?,
            path: path.to_owned(),
        })
    }

    /// A second handle of the same file, for a writer that keeps it.
    ///
    /// # Errors
    /// Too many open files.
    pub fn handle(&self) -> io::Result<File> {
        self.temporary.as_file().try_clone()
    }

    /// Brings the file to the disk and gives it its name. It takes the permissions of the file that it replaces.
    ///
    /// # Errors
    /// What the file system says. The file that was there is then unchanged.
    pub fn finish(self) -> io::Result<()> {
        let file = self.temporary.as_file();
        if let Ok(found) = fs::symlink_metadata(&self.path)
            && found.is_file()
        {
            file.set_permissions(found.permissions())?;
        }
        file.sync_all()?;
        self.temporary.persist(&self.path).map_err(|error| error.error)?;
        sync_parent(&self.path)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file_mut().flush()
    }
}

/// Writes a whole file, in place of the one that may be there.
///
/// # Errors
/// As [`NewFile::create`] and [`NewFile::finish`].
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(content.as_ref())?;
    file.finish()
}

/// Makes a file that must not be there, not even as a link.
///
/// It is for the files of a [`NewDirectory`](crate::NewDirectory), which appear and reach the disk with it.
///
/// # Errors
/// What the file system says.
pub fn create_new(path: &Path) -> io::Result<File> {
    File::create_new(path)
}

/// Writes a file as [`create_new`] makes it.
///
/// # Errors
/// What the file system says.
pub fn write_new(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    create_new(path)?.write_all(content.as_ref())
}

/// Whether a file can be written at `path`, found out before the work whose result it is to hold.
///
/// # Errors
/// As [`NewFile::create`].
pub fn check_target(path: &Path) -> io::Result<()> {
    NewFile::create(path).map(drop)
}

/// Whether a file of this name is the rest of a write that was cut off.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Removes what writes left in `directory` that were cut off. No other process may write there meanwhile.
///
/// # Errors
/// What the file system says.
pub fn clean(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_temporary(&entry.file_name().to_string_lossy()) && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes what writes of the file at `path` left that were cut off. No other process may write it meanwhile.
///
/// # Errors
/// What the file system says.
pub fn clean_beside(path: &Path) -> io::Result<()> {
    let prefix = prefix(path);
    for entry in fs::read_dir(parent_of(path))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) && is_temporary(&name) && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// How the temporary names of a file begin; cut, as names must not become too long.
fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(40).collect();
    format!("{PREFIX}{name}.")
}

/// A temporary file beside `path` with the permissions of any other new file.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The system takes the umask off.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(parent_of(path)).map_err(plain)
}

/// A device, a pipe or a directory would be replaced by the file.
fn refuse_special(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(found) if !found.is_file() => Err(not_regular()),
        _ => Ok(()),
    }
}

pub(crate) fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// What the system says, without the temporary name that `tempfile` adds to it.
pub(crate) fn plain(error: io::Error) -> io::Error {
    match error.to_string().rsplit_once(" at path ") {
        Some((said, _)) => io::Error::new(error.kind(), said.to_owned()),
        None => error,
    }
}
