//! The files that a source names.

use std::io;
use std::path::{Path, PathBuf};

use super::Source;
use super::split;
use super::walk::{GlobError, Hidden, Walk};
use crate::error::DataError;
use crate::read::{is_file, unread_kind};

/// Files that lie beside data in directories of data sets; `datasets` passes them over too.
const METADATA: [&str; 5] = [
    "README.md",
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
];

/// What a file holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Rows, in files of this kind.
    Rows(&'static str),
    /// Data that are not read, and what to do about it.
    Unread(&'static str),
    /// The ending of a data file is in the name, but not at its end: a copy, or a part.
    Unclear,
    /// No data.
    Other,
}

pub(super) fn content(path: &Path) -> Content {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if METADATA.contains(&&*name) {
        return Content::Other;
    }
    let name = name.to_lowercase();
    if let Some(hint) = unread_kind(&name) {
        return Content::Unread(hint);
    }
    let packed = [".gz", ".gzip", ".zst", ".zstd"];
    let bare = packed
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(&name);
    let endings: Vec<_> = bare.split('.').skip(1).map(kind).collect();
    match endings.as_slice() {
        [.., Some(kind)] => Content::Rows(kind),
        endings if endings.iter().any(Option::is_some) => Content::Unclear,
        _ => Content::Other,
    }
}

/// The kind of the files with an ending. `datasets` reads those of one kind together.
fn kind(ending: &str) -> Option<&'static str> {
    match ending {
        "jsonl" | "ndjson" | "json" => Some("JSON"),
        "csv" => Some("CSV"),
        "tsv" => Some("TSV"),
        "parquet" | "pq" => Some("Parquet"),
        _ => None,
    }
}

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

pub(super) fn io_error(path: &Path, source: io::Error) -> DataError {
    DataError::Io {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn error(source: &Source, message: &str, hint: &str) -> DataError {
    DataError::Source {
        path: source.path.clone(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}
