//! What a directory holds, and whether two paths are the same file.

use crate::visible::visible_name;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path};

/// The sorted names in a directory; empty if the directory does not exist.
///
/// # Errors
/// Any other error of the file system, for example if `directory` is a file.
pub fn entries(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    let mut names = vec![];
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The first few names, and the number of further ones.
#[must_use]
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<String> = (names.iter().take(SHOWN))
        .map(|name| format!("`{}`", visible_name(name)))
        .collect();
    let first = first.join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        left => format!("{first} and {left} more"),
    }
}

/// Whether two paths are the same file or directory; links are followed.
#[must_use]
pub fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let is_one_path = real(one).is_some_and(|one| real(other) == Some(one));
    is_one_path || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Whether `path` exists and is `directory` or below it; links are followed.
#[must_use]
pub fn is_within(path: &Path, directory: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(path).is_some_and(|path| real(directory).is_some_and(|directory| path.starts_with(directory)))
}

/// Whether a name from a file stays below the directory to which it is joined.
#[must_use]
pub fn stays_below(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Device and inode of a file: equal for all hard links to it.
fn identity(path: &Path) -> Option<(u64, u64)> {
    identity_of(&fs::metadata(path).ok()?)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
fn identity_of(found: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity_of(_found: &Metadata) -> Option<(u64, u64)> {
    None
}
