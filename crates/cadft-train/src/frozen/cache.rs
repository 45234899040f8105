//! The file of kept values in the cache.
//!
//! ```text
//! magic                 8 bytes
//! values                f32 each, little-endian
//! SHA-256 of the above  32 bytes
//! ```
//!
//! Its name is a SHA-256 over everything that the values depend on: the weights, configuration, tokenizer, chat template, samples,
//! what was asked, how it is computed, and by which program on which kind of processor. A file that is damaged is made again.

use crate::checkpoint::{DataDigests, hex};
use crate::config::Init;
use crate::data::cache_directory;
use crate::environment;
use crate::error::TrainError;
use crate::prepare::Prepared;
use cadft_core::TokenReference;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"cadftref";

/// Where the values of a run are kept.
pub(super) struct Place {
    path: PathBuf,
    /// Whether the user chose the directory. A run does not depend on one that the user did not choose.
    is_chosen: bool,
}

impl Place {
    /// Nowhere with `data.cache = "off"`.
    pub(super) fn of(prepared: &Prepared, wanted: TokenReference) -> Option<Self> {
        let (directory, is_chosen) = match prepared.recipe.data.cache.as_str() {
            "off" => return None,
            "auto" => (cache_directory().join("references"), false),
            chosen => (PathBuf::from(chosen), true),
        };
        let path = directory.join(format!("{}.reference", key(prepared, wanted)));
        Some(Self { path, is_chosen })
    }

    /// The values, if they are there, whole and `count`.
    pub(super) fn read(&self, count: usize) -> Result<Option<Vec<f32>>, TrainError> {
        let bytes = match cadft_files::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound || !self.is_chosen => return Ok(None),
            Err(source) => return Err(TrainError::io(&self.path)(source)),
        };
        Ok(decoded(&bytes).filter(|values| values.len() == count))
    }

    /// Keeps the values.
    pub(super) fn write(&self, values: &[f32]) -> Result<(), TrainError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let written =
            fs::create_dir_all(directory).and_then(|()| cadft_files::write(&self.path, encoded(values)));
        match written {
            Err(source) if self.is_chosen => Err(TrainError::io(&self.path)(source)),
            Err(error) => {
                let path = cadft_files::shown(&self.path);
                tracing::warn!("what the frozen model says is not kept: `{path}`: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// A digest of everything that the values depend on.
fn key(prepared: &Prepared, wanted: TokenReference) -> String {
    let recipe = &prepared.recipe;
    let parts = json!({
        "cadft": env!("CARGO_PKG_VERSION"),
        "wanted": format!("{wanted:?}"),
        "data": DataDigests::train_of(prepared),
        "inputs": prepared.inputs(),
        // Random weights are drawn from the seed.
        "drawn": (recipe.model.init == Init::Random).then_some(recipe.run.seed),
        "computation": [json!(recipe.model.precision), json!(recipe.model.tf32)],
        "packed": prepared.frozen_base().map(|base| json!([base.format.to_string(), base.trained])),
        "device": format!("{:?}", prepared.device),
        "processor": environment::processor(),
    });
    hex(&Sha256::digest(parts.to_string().as_bytes()))
}

/// The values as they travel and are kept.
pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of [`bytes`].
pub(super) fn values(bytes: &[u8]) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn encoded(values: &[f32]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(bytes(values));
    let digest = Sha256::digest(&file);
    file.extend(digest);
    file
}

/// The values of a file that is as it was written.
fn decoded(file: &[u8]) -> Option<Vec<f32>> {
    let (content, digest) = file.split_last_chunk::<32>()?;
    let is_whole = Sha256::digest(content).as_slice() == digest;
    let content = content.strip_prefix(MAGIC).filter(|_| is_whole)?;
    Some(values(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_not_at_all_if_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place {
            path: directory.path().join("sub/a.reference"),
            is_chosen: true,
        };
        assert_eq!(place.read(3).unwrap(), None);
        let values = [-0.5, f32::MIN_POSITIVE, -87.3];
        place.write(&values).unwrap();
        assert_eq!(place.read(3).unwrap(), Some(values.to_vec()));
        assert_eq!(place.read(2).unwrap(), None, "of other data");
        let whole = encoded(&values);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(decoded(&changed), None, "byte {at}");
            assert_eq!(decoded(&whole[..at]), None, "cut at {at}");
        }
    }
}
