//! Lists the files below a directory, and the files that a glob matches. Links to directories are not followed on the
//! way down, and the number of entries is limited.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// Largest number of directory entries that are read.
const MAX_ENTRIES: usize = 1_000_000;

/// Largest depth of directories.
const MAX_DEPTH: usize = 64;

/// Matching as in shells: `*` does not match `/`.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Whether hidden names are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    Skipped,
    Taken,
}

/// Lists entries, up to a maximum number.
pub(super) struct Walk {
    hidden: Hidden,
    entries: usize,
}

impl Walk {
    pub(super) fn new(hidden: Hidden) -> Self {
        Self { hidden, entries: 0 }
    }

    /// The regular files below a directory, as sorted relative paths.
    pub(super) fn files(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        self.collect(directory, &mut PathBuf::new(), &mut files)?;
        files.sort();
        Ok(files)
    }

    fn collect(&mut self, root: &Path, below: &mut PathBuf, files: &mut Vec<PathBuf>) -> io::Result<()> {
        if below.components().count() > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} directories within each other");
            return Err(io::Error::other(message));
        }
        for name in self.names(&root.join(&below))? {
            below.push(&name);
            let path = root.join(&below);
            let is_link = path.is_symlink();
            if path.is_dir() {
                let is_skipped = self.hidden == Hidden::Skipped && name.to_string_lossy().starts_with("__");
                if !is_link && !is_skipped {
                    self.collect(root, below, files)?;
                }
            } else if path.is_file() {
                files.push(below.clone());
            }
            below.pop();
        }
        Ok(())
    }

    /// The sorted names in a directory.
    fn names(&mut self, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                let message = format!("more than {MAX_ENTRIES} files and directories");
                return Err(io::Error::other(message));
            }
            if self.hidden == Hidden::Taken || !name.to_string_lossy().starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The regular files that match a glob. `*` may match a link to a directory, but `**` does not enter links.
    pub(super) fn glob(&mut self, pattern: &str) -> Result<Vec<PathBuf>, GlobError> {
        // The whole pattern is checked first, so that errors have the right position.
        Pattern::new(pattern).map_err(|error| GlobError::Pattern(error.to_string()))?;
        let mut components = Path::new(pattern).components().peekable();
        let mut start = PathBuf::new();
        while let Some(component) = components.next_if(|component| !is_magic(component)) {
            start.push(component);
        }
        let rest: Vec<_> = components.collect();
        let mut found = vec![start];
        for (index, component) in rest.iter().enumerate() {
            let text = component.as_os_str().to_string_lossy();
            if text == "**" {
                let below: PathBuf = rest[index..].iter().collect();
                let pattern = Pattern::new(&below.to_string_lossy());
                let pattern = pattern.map_err(|error| GlobError::Pattern(error.to_string()))?;
                return self.recursive(&found, &pattern);
            }
            found = self.step(&found, component)?;
        }
        found.retain(|path| path.is_file());
        Ok(found)
    }

    /// The entries of these directories whose names match.
    fn step(
        &mut self,
        directories: &[PathBuf],
        component: &Component<'_>,
    ) -> Result<Vec<PathBuf>, GlobError> {
        let mut found = Vec::new();
        for directory in directories {
            if !is_magic(component) {
                found.extend(Some(directory.join(component)).filter(|path| path.exists()));
                continue;
            }
            let text = component.as_os_str().to_string_lossy();
            let pattern = Pattern::new(&text).map_err(|error| GlobError::Pattern(error.to_string()))?;
            let Some(here) = readable(directory) else {
                continue;
            };
            let names = self
                .names(here)
                .map_err(|error| GlobError::Io(here.to_owned(), error))?;
            let names = names
                .into_iter()
                .filter(|name| pattern.matches_with(&name.to_string_lossy(), OPTIONS));
            found.extend(names.map(|name| directory.join(name)));
        }
        Ok(found)
    }

    /// The files below these directories whose relative paths match.
    fn recursive(&mut self, directories: &[PathBuf], pattern: &Pattern) -> Result<Vec<PathBuf>, GlobError> {
        let mut found = Vec::new();
        for directory in directories {
            let Some(here) = readable(directory) else {
                continue;
            };
            let files = self
                .files(here)
                .map_err(|error| GlobError::Io(here.to_owned(), error))?;
            let files = files.into_iter().filter(|file| matches(pattern, file));
            found.extend(files.map(|file| directory.join(file)));
        }
        Ok(found)
    }
}

/// Whether a path matches; it need not be UTF-8.
pub(super) fn matches(pattern: &Pattern, path: &Path) -> bool {
    pattern.matches_with(&path.to_string_lossy(), OPTIONS)
}

/// Why a glob cannot be evaluated.
pub(super) enum GlobError {
    Pattern(String),
    Io(PathBuf, io::Error),
}

fn is_magic(component: &Component<'_>) -> bool {
    let text = component.as_os_str().to_string_lossy();
    text.contains(['*', '?', '['])
}

/// The directory to read; `.` if the path is empty, and `None` if it is not a directory.
fn readable(directory: &Path) -> Option<&Path> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    directory.is_dir().then_some(directory)
}
