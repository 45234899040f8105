//! Files of models: only regular files are opened, and names from files stay in their directory.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use cadft_files::Action;
use serde_json::{Map, Value};

use crate::error::ModelError;
use crate::json;

/// Files above this are no configuration: what is read is held in memory several times over.
const LARGEST_JSON: u64 = 512 << 20;

/// Opens a regular file. A pipe or a device is refused: it could block, or have no end.
pub(crate) fn open(path: &Path) -> Result<File, ModelError> {
    let failed = |source| ModelError::io(Action::Open, path, source);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_file() {
        File::open(path).map_err(failed)
    } else {
        let kind = if metadata.is_dir() {
            "a directory"
        } else {
            "a pipe or a device"
        };
        let message = format!("it is {kind}, not a regular file");
        Err(failed(Error::new(ErrorKind::InvalidInput, message)))
    }
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::io(Action::Read, path, source);
    let mut bytes = vec![];
    open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        let message = format!("it is larger than {} MiB", limit >> 20);
        return Err(failed(Error::new(ErrorKind::FileTooLarge, message)));
    }
    Ok(bytes)
}

/// Reads a JSON object from a file.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let bytes = read(path, LARGEST_JSON)?;
    json::parse_object(&bytes).map_err(|source| ModelError::Json {
        path: path.to_owned(),
        source,
    })
}

/// Whether a name is a plain file name: only letters, digits, `.`, `_` and `-`, and not only dots.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 255 && name.chars().all(is_allowed) && name.chars().any(|c| c != '.')
}

/// Writes a whole file atomically.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    cadft_files::write(path, bytes).map_err(|source| ModelError::io(Action::Write, path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_stays_in_its_directory() {
        for name in ["model.safetensors", "model-00001-of-00002.safetensors", "a_B.1"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "/etc/hostname",
            "a/b",
            "a\\b",
            "a\u{1b}",
            "ä",
            "C:x",
        ] {
            assert!(!is_plain_name(name), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_device_and_a_directory_are_refused_at_once() {
        for (path, what) in [("/dev/zero", "device"), ("/", "directory")] {
            let error = open(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("regular file"), "{error}");
        }
    }
}
