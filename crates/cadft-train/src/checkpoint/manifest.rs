//! The manifest: size and SHA-256 of every file of a checkpoint.

use super::{CheckpointError, FORMAT_VERSION, MANIFEST, durable};
use cadft_files::Action;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Largest manifest that is read, in bytes. A manifest has about a hundred bytes for each file.
const LARGEST: u64 = 16 << 20;

/// The files of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub format_version: u32,
    /// Every file except the manifest, by its path in the checkpoint.
    pub files: BTreeMap<String, Member>,
}

/// The expected size and hash of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of the files in `directory`.
    pub(crate) fn of(directory: &Path) -> Result<Self, CheckpointError> {
        let mut names = durable::files(directory)?;
        names.retain(|name| name != MANIFEST);
        let members: Result<BTreeMap<String, Member>, CheckpointError> = names
            .into_par_iter()
            .map(|name| Ok((name.clone(), Self::member(&directory.join(name))?)))
            .collect();
        Ok(Self {
            format_version: FORMAT_VERSION,
            files: members?,
        })
    }

    /// Size and SHA-256 of a file.
    pub(crate) fn member(path: &Path) -> Result<Member, CheckpointError> {
        let mut file = cadft_files::open(path).map_err(CheckpointError::io(Action::Read, path))?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file
                .read(&mut buffer)
                .map_err(CheckpointError::io(Action::Read, path))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            bytes += count as u64;
        }
        Ok(Member {
            bytes,
            sha256: hex(&hash.finalize()),
        })
    }

    /// The text of `manifest.json`.
    pub(crate) fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n")
    }

    /// Reads the manifest of a checkpoint, and compares every file with it.
    pub(crate) fn verify(directory: &Path) -> Result<Self, CheckpointError> {
        let path = directory.join(MANIFEST);
        let bytes = cadft_files::read_up_to(&path, LARGEST).map_err(|error| match error.kind() {
            ErrorKind::NotFound => CheckpointError::damaged(&path, &"the file is missing"),
            ErrorKind::InvalidInput | ErrorKind::IsADirectory | ErrorKind::FileTooLarge => {
                CheckpointError::damaged(&path, &error)
            }
            _ => CheckpointError::io(Action::Read, &path)(error),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| CheckpointError::damaged(&path, &"not UTF-8"))?;
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| CheckpointError::damaged(&path, &error))?;
        if manifest.format_version != FORMAT_VERSION {
            let message = format!(
                "`format_version` is {}; this program reads {FORMAT_VERSION}",
                manifest.format_version
            );
            return Err(CheckpointError::damaged(&path, &message));
        }
        if manifest.to_json() != text {
            return Err(CheckpointError::damaged(&path, &"it was edited"));
        }
        if let Some(name) = (manifest.files.keys()).find(|name| !cadft_files::stays_below(name)) {
            let message = format!("`{name}` is not the name of a file in the checkpoint");
            return Err(CheckpointError::damaged(&path, &message));
        }
        manifest
            .files
            .par_iter()
            .try_for_each(|(name, member)| member.verify(&directory.join(name)))?;
        Ok(manifest)
    }
}

impl Member {
    fn verify(&self, path: &Path) -> Result<(), CheckpointError> {
        if !path.is_file() {
            return Err(CheckpointError::damaged(path, &"the file is missing"));
        }
        let of_another_size = |bytes: u64| {
            let message = format!("it has {bytes} bytes, not {}", self.bytes);
            CheckpointError::damaged(path, &message)
        };
        // Check the size before reading: a sparse file may have any size.
        let size = std::fs::metadata(path).map_or(self.bytes, |found| found.len());
        if size != self.bytes {
            return Err(of_another_size(size));
        }
        let found = Manifest::member(path)?;
        if found.bytes != self.bytes {
            return Err(of_another_size(found.bytes));
        }
        if found.sha256 != self.sha256 {
            return Err(CheckpointError::damaged(
                path,
                &"its SHA-256 is not the manifest's",
            ));
        }
        Ok(())
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
