//! The files that a source names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Source;
use super::split;
use crate::error::DataError;
use crate::read::EXTENSIONS;

/// Metadata that lies beside data in directories of data sets.
const METADATA: [&str; 4] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
];

pub(super) fn of(source: &Source) -> Result<Vec<PathBuf>, DataError> {
    let path = Path::new(&source.path);
    if path.is_dir() {
        let mut files = Vec::new();
        collect(path, &mut files).map_err(|source| DataError::Io {
            path: path.to_owned(),
            source,
        })?;
        files.sort();
        return split::choose(source, files);
    }
    if source.split.is_some() {
        return Err(error(
            source,
            "`split` chooses among the files of a directory, and this is none",
            "remove `split`, or name the directory",
        ));
    }
    if path.exists() || !source.path.contains(['*', '?', '[']) {
        return match fs::metadata(path) {
            Ok(_) => Ok(vec![path.to_owned()]),
            Err(source) => Err(DataError::Io {
                path: path.to_owned(),
                source,
            }),
        };
    }
    let matches = glob::glob(&source.path).map_err(|problem| {
        error(
            source,
            &format!("no glob: {problem}"),
            "`*` stands for any characters of a name, `**` for any directories",
        )
    })?;
    let files: Vec<_> = matches
        .filter_map(Result::ok)
        .filter(|path| path.is_file())
        .collect();
    if files.is_empty() {
        return Err(error(
            source,
            "no file matches",
            "put the glob in quotes, and see what `ls` says of it",
        ));
    }
    Ok(files)
}

/// Adds the data files below a directory, without hidden ones.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if name.starts_with(['.', '_']) || METADATA.contains(&name.as_str()) {
            continue;
        }
        // What a link points to is read, as in the cache of the hub.
        let path = entry.path();
        if path.is_dir() {
            if !entry.file_type()?.is_symlink() {
                collect(&path, files)?;
            }
        } else if is_data(&name) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_data(name: &str) -> bool {
    let name = [".gz", ".gzip", ".zst", ".zstd"]
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

pub(super) fn error(source: &Source, message: &str, hint: &str) -> DataError {
    DataError::Source {
        path: source.path.clone(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}
