//! Safetensors files mapped into memory, one or several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::error::ModelError;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// A file mapped into memory.
pub(crate) struct MappedFile {
    path: PathBuf,
    bytes: Mmap,
}

impl MappedFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self, ModelError> {
        let file = File::open(&path).map_err(|source| ModelError::io("open", &path, source))?;
        // SAFETY: the mapping is read-only and lives no longer than this load; a program that truncates the file
        // meanwhile breaks it, as it would break any reader of a mapped checkpoint.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|source| ModelError::io("map", &path, source))?;
        Ok(Self { path, bytes })
    }

    pub(crate) fn parse(&self) -> Result<SafeTensors<'_>, ModelError> {
        SafeTensors::deserialize(&self.bytes).map_err(|source| ModelError::SafeTensors {
            path: self.path.clone(),
            source,
        })
    }

    fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// A parsed file and its name.
pub(super) struct ParsedFile<'a> {
    pub(super) name: String,
    pub(super) tensors: SafeTensors<'a>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that hold the weights of a checkpoint.
pub(super) struct WeightFiles {
    files: Vec<MappedFile>,
    /// Which file holds which tensor, where there is an index.
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    pub(super) fn open(directory: &Path) -> Result<Self, ModelError> {
        let index = directory.join(INDEX);
        let (names, weight_map) = if index.is_file() {
            let text = std::fs::read(&index).map_err(|source| ModelError::io("read", &index, source))?;
            let Index { weight_map } =
                serde_json::from_slice(&text).map_err(|source| ModelError::Json { path: index, source })?;
            let names: BTreeSet<String> = weight_map.values().cloned().collect();
            (names, weight_map)
        } else if directory.join(SINGLE).is_file() {
            (BTreeSet::from([SINGLE.to_owned()]), BTreeMap::new())
        } else {
            return Err(no_weights(directory));
        };
        let files = names
            .into_iter()
            .map(|name| MappedFile::open(directory.join(name)))
            .collect::<Result<_, _>>()?;
        Ok(Self { files, weight_map })
    }

    pub(super) fn parse(&self) -> Result<Vec<ParsedFile<'_>>, ModelError> {
        self.files
            .iter()
            .map(|file| {
                Ok(ParsedFile {
                    name: file.name(),
                    tensors: file.parse()?,
                })
            })
            .collect()
    }

    /// Gives the memory of mapped pages back: what was converted is not read again.
    pub(super) fn release(&self, data: &[u8]) {
        #[cfg(unix)]
        for file in &self.files {
            let start = file.bytes.as_ptr() as usize;
            let offset = (data.as_ptr() as usize).wrapping_sub(start);
            if offset < file.bytes.len() {
                // SAFETY: the mapping is read-only and backed by its file, so that a page that is touched again holds
                // what it held. That the system may refuse changes nothing about what is read.
                let _ = unsafe {
                    file.bytes
                        .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, data.len())
                };
            }
        }
        #[cfg(not(unix))]
        let _ = data;
    }

    /// Tensors that are not in the file that the index names, with that file.
    pub(super) fn mis_indexed(&self, parsed: &[ParsedFile<'_>]) -> Vec<(String, String)> {
        let holds = |file: &str, tensor: &str| {
            parsed
                .iter()
                .any(|parsed| parsed.name == file && parsed.tensors.tensor(tensor).is_ok())
        };
        self.weight_map
            .iter()
            .filter(|(tensor, file)| !holds(file, tensor))
            .map(|(tensor, file)| (tensor.clone(), file.clone()))
            .collect()
    }
}

fn no_weights(directory: &Path) -> ModelError {
    let hint = if directory.join("pytorch_model.bin").exists() {
        Some(
            "`pytorch_model.bin` is not read: save the model as safetensors with transformers first"
                .to_owned(),
        )
    } else if directory.extension().is_some_and(|extension| extension == "gguf") {
        Some("import a GGUF file into a Hugging Face directory first".to_owned())
    } else {
        None
    };
    ModelError::NoWeights {
        path: directory.to_owned(),
        hint,
    }
}
