//! A directory that is filled under a temporary name beside its place, brought to the disk, and renamed.

use crate::new_file::plain;
use crate::sync::{parent_of, sync_parent, sync_tree};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::{Builder, TempDir};

/// A directory under construction. It is removed where it is not finished.
#[derive(Debug)]
pub struct NewDirectory {
    temporary: TempDir,
    target: PathBuf,
}

impl NewDirectory {
    /// Begins a directory that will be at `target`; those above it are made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(target: &Path) -> io::Result<Self> {
        let target = std::path::absolute(target)?;
        fs::create_dir_all(parent_of(&target))?;
        let temporary = hidden(&target, ".partial")?;
        Ok(Self { temporary, target })
    }

    /// Where to write.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Brings everything to the disk and puts the directory in its place. What is there, a link included, is removed; the
    /// target of a link is not touched.
    ///
    /// # Errors
    /// What the file system says. What was there is then unchanged.
    pub fn finish(self) -> io::Result<()> {
        sync_tree(self.path())?;
        match fs::symlink_metadata(&self.target) {
            Ok(_) => replace(&self.temporary, &self.target)?,
            Err(_) => fs::rename(self.path(), &self.target)?,
        }
        sync_parent(&self.target)
    }
}

/// Whether a directory can be made at `target`, found out before the work whose result it is to hold. Nothing is left of the
/// trial.
///
/// # Errors
/// What the file system says.
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
        // The system takes the umask off.
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent_of(target)).map_err(plain)
}

/// Swaps the two, so that at every moment one of them is at `target`; what was there is removed with the temporary name.
fn replace(temporary: &TempDir, target: &Path) -> io::Result<()> {
    if exchange(temporary.path(), target).is_ok() {
        return Ok(());
    }
    // Not every system and file system can swap.
    let aside = hidden(target, ".old")?;
    let old = aside.path().join("old");
    fs::rename(target, &old)?;
    fs::rename(temporary.path(), target).inspect_err(|_| {
        // The error is what is reported.
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
