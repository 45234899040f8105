//! A file that is written under a temporary name next to its target, synchronised to the disk, and renamed.

use crate::sync::{parent_of, sync_parent};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

const PREFIX: &str = ".cadft-";
const SUFFIX: &str = ".tmp";

/// A file under construction. Dropping it without [`NewFile::finish`] removes it.
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// If `path` exists and is not a file or a link to one; any error of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        refuse_special(path)?;
        Ok(Self {
            temporary: temporary(path)?,
            path: path.to_owned(),
        })
    }

    /// A second handle of the same file, for a writer that takes ownership of it.
    ///
    /// # Errors
    /// If too many files are open.
    pub fn handle(&self) -> io::Result<File> {
        self.temporary.as_file().try_clone()
    }

    /// Synchronises the file to the disk and renames it. It gets the permissions of the file that it replaces.
    ///
    /// # Errors
    /// Any error of the file system. The old file is then unchanged.
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

/// Writes a whole file; an existing file is replaced.
///
/// # Errors
/// The same as [`NewFile::create`] and [`NewFile::finish`].
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(content.as_ref())?;
    file.finish()
}

/// Creates a file. Nothing may exist at `path`, not even a link.
///
/// For files in a [`NewDirectory`](crate::NewDirectory): they appear, and are synchronised, together with it.
///
/// # Errors
/// If `path` exists; any other error of the file system.
pub fn create_new(path: &Path) -> io::Result<File> {
    File::create_new(path)
}

/// Creates a file with [`create_new`] and writes its content.
///
/// # Errors
/// If `path` exists; any other error of the file system.
pub fn write_new(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    create_new(path)?.write_all(content.as_ref())
}

/// Checks that a file can be written at `path`, before the work that will produce its content.
///
/// # Errors
/// The same as [`NewFile::create`].
pub fn check_target(path: &Path) -> io::Result<()> {
    NewFile::create(path).map(drop)
}

/// Whether a file with this name is left over from an interrupted write.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Removes the files that interrupted writes left in `directory`. No other process may write there at the same time.
///
/// # Errors
/// Any error of the file system.
pub fn clean(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_temporary(&entry.file_name().to_string_lossy()) && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the files that interrupted writes of `path` left next to it. No other process may write it at the same time.
///
/// # Errors
/// Any error of the file system.
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

/// The prefix of the temporary names of a file. It is cut, because file names have a maximum length.
fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(40).collect();
    format!("{PREFIX}{name}.")
}

/// A temporary file next to `path`, with the permissions of a usual new file.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The operating system applies the umask.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(parent_of(path)).map_err(plain)
}

/// Refuses a device, pipe or directory, which the rename would replace.
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

/// The system's error, without the temporary name that `tempfile` adds.
pub(crate) fn plain(error: io::Error) -> io::Error {
    match error.to_string().rsplit_once(" at path ") {
        Some((said, _)) => io::Error::new(error.kind(), said.to_owned()),
        None => error,
    }
}
