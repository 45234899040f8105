//! The files of a source.

use std::io;
use std::path::{Path, PathBuf};

use super::walk::{GlobError, Hidden, Walk};
use super::{Source, error, io_error, split};
use crate::error::DataError;
use crate::read::is_file;

pub(super) fn of(source: &Source) -> Result<Vec<PathBuf>, DataError> {
    let path = Path::new(&source.path);
    if path.is_dir() {
        return split::files(source);
    }
    for (key, value) in [("split", &source.split), ("config", &source.config)] {
        if value.is_some() {
            return Err(error(
                source,
                &format!("`{key}` chooses among the files of a directory, and this is none"),
                &format!("remove `{key}`, or name the directory"),
            ));
        }
    }
    if path.exists() || !source.path.contains(['*', '?', '[']) {
        return match is_file(path) {
            Ok(_) => Ok(vec![path.to_owned()]),
            Err(problem) if problem.kind() == io::ErrorKind::InvalidInput => Err(error(
                source,
                &problem.to_string(),
                "name a file, a directory, a pipe or /dev/stdin",
            )),
            Err(problem) => Err(io_error(path, problem)),
        };
    }
    glob(source)
}

fn glob(source: &Source) -> Result<Vec<PathBuf>, DataError> {
    let files = match Walk::new(Hidden::Taken).glob(&source.path) {
        Ok(files) => files,
        Err(GlobError::Pattern(problem)) => {
            return Err(error(
                source,
                &format!("no glob: {problem}"),
                "`*` stands for any characters of a name, `**` for any directories",
            ));
        }
        Err(GlobError::Io(path, problem)) => return Err(io_error(&path, problem)),
    };
    if files.is_empty() {
        return Err(error(
            source,
            "no file matches",
            "put the glob in quotes, and see what `ls` says of it",
        ));
    }
    Ok(files)
}
