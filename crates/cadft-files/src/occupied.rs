//! What a directory holds, and whether two paths are one file.

use crate::visible::visible_name;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path};

/// The names in a directory, sorted; empty if there is no directory.
///
/// # Errors
/// What the file system says, such as that it is a file.
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

/// The first of some names, and how many there are besides.
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

/// Whether two paths are one file or one directory, through whatever links they go.
#[must_use]
pub fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let is_one_path = real(one).is_some_and(|one| real(other) == Some(one));
    is_one_path || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Whether `path` is there and is `directory` or below it, through whatever links it goes.
#[must_use]
pub fn is_within(path: &Path, directory: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(path).is_some_and(|path| real(directory).is_some_and(|directory| path.starts_with(directory)))
}

/// Whether a name from a file stays below the directory that it is joined to.
#[must_use]
pub fn stays_below(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Where a file is stored, which all of its names share.
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
