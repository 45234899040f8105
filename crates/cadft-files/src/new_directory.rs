//! A directory that is filled under a temporary name next to its target, synchronised to the disk, and renamed.

use crate::new_file::plain;
use crate::sync::{parent_of, sync_parent, sync_tree};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::{Builder, TempDir};

/// A directory under construction. Dropping it without [`NewDirectory::finish`] removes it.
#[derive(Debug)]
pub struct NewDirectory {
    temporary: TempDir,
    target: PathBuf,
}

impl NewDirectory {
    /// Begins a directory that will be at `target`; missing parent directories are created.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn begin(target: &Path) -> io::Result<Self> {
        let target = std::path::absolute(target)?;
        fs::create_dir_all(parent_of(&target))?;
        let temporary = hidden(&target, ".partial")?;
        Ok(Self { temporary, target })
    }

    /// The temporary directory to write into.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Synchronises the content to the disk and moves the directory to its target. An existing file, directory or link
    /// at the target is removed; the file that a link points to is not touched.
    ///
    /// # Errors
    /// Any error of the file system. The old content of the target is then unchanged.
    pub fn finish(self) -> io::Result<()> {
        sync_tree(self.path())?;
        match fs::symlink_metadata(&self.target) {
            Ok(_) => replace(&self.temporary, &self.target)?,
            Err(_) => fs::rename(self.path(), &self.target)?,
        }
        sync_parent(&self.target)
    }
}

/// Checks that a directory can be created at `target`, before the work that will fill it. The check leaves nothing
/// behind.
///
/// # Errors
/// Any error of the file system.
pub fn check_directory(target: &Path) -> io::Result<()> {
    let target = std::path::absolute(target)?;
    let above = target.ancestors().skip(1).find(|above| above.exists());
    hidden(&above.unwrap_or(&target).join("new"), ".partial").map(drop)
}

/// A new directory `.NAME.RANDOM.SUFFIX` beside `target`.
fn hidden(target: &Path, suffix: &str) -> io::Result<TempDir> {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(suffix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The operating system applies the umask.
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent_of(target)).map_err(plain)
}

/// Swaps the two directories, so that one of them is at `target` at every moment. The old one is removed with the
/// temporary name.
fn replace(temporary: &TempDir, target: &Path) -> io::Result<()> {
    if exchange(temporary.path(), target).is_ok() {
        return Ok(());
    }
    // Not every operating system and file system can swap.
    let aside = hidden(target, ".old")?;
    let old = aside.path().join("old");
    fs::rename(target, &old)?;
    fs::rename(temporary.path(), target).inspect_err(|_| {
        // The error of the rename is the one to report.
        let _ = fs::rename(&old, target);
    })
}

#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_one: &Path, _other: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
