//! Safetensors files mapped into memory: a single one, or several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cadft_files::Action;
use memmap2::Mmap;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::error::ModelError;
use crate::shown::cut;
use crate::{file, json};

/// The configuration file of an adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The weights file of an adapter.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// A file mapped into memory.
pub(crate) struct MappedFile {
    path: PathBuf,
    bytes: Mmap,
}

impl MappedFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self, ModelError> {
        let file = file::open(&path)?;
        // SAFETY: the mapping is read-only and lives no longer than this load; a program that truncates the file
        // meanwhile breaks it, as it would break any reader of a mapped checkpoint.
        let bytes =
            unsafe { Mmap::map(&file) }.map_err(|source| ModelError::io(Action::Map, &path, source))?;
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

/// The weight files of a checkpoint.
pub(super) struct WeightFiles {
    files: Vec<MappedFile>,
    /// The file of each tensor, if there is an index.
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Opens the files of a directory: the single file if it exists, as in transformers, otherwise those of the index.
    pub(super) fn open(directory: &Path) -> Result<Self, ModelError> {
        let index = directory.join(INDEX);
        let (names, weight_map) = if directory.join(SINGLE).exists() {
            (BTreeSet::from([SINGLE.to_owned()]), BTreeMap::new())
        } else if index.exists() {
            let weight_map = read_index(&index)?;
            (weight_map.values().cloned().collect(), weight_map)
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

    /// Releases the memory of mapped pages: converted weights are not read again.
    pub(super) fn release(&self, data: &[u8]) {
        #[cfg(unix)]
        for file in &self.files {
            let start = file.bytes.as_ptr() as usize;
            let offset = (data.as_ptr() as usize).wrapping_sub(start);
            if offset < file.bytes.len() {
                // SAFETY: the mapping is read-only and backed by its file, so a released page has the same content when
                // it is read again. If the system refuses the advice, nothing changes.
                let _ = unsafe {
                    file.bytes
                        .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, data.len())
                };
            }
        }
        #[cfg(not(unix))]
        let _ = data;
    }

    /// Tensors that are not in the file that the index names, each with that file.
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

/// The file of each tensor. File names must be plain names in the directory of the index.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    let object = file::read_object(path)?;
    let mut problems = vec![];
    let mut weight_map = BTreeMap::new();
    match object.get("weight_map") {
        Some(Value::Object(entries)) if !entries.is_empty() => {
            for (tensor, file) in entries {
                match file.as_str() {
                    Some(name) if file::is_plain_name(name) && name.ends_with(".safetensors") => {
                        weight_map.insert(tensor.clone(), name.to_owned());
                    }
                    _ => problems.push(format!(
                        "`weight_map.{}` is `{}`, which is no name of a safetensors file in this directory",
                        cut(tensor),
                        json::show(file)
                    )),
                }
            }
        }
        _ => problems.push("`weight_map` is not an object with the file of every tensor".to_owned()),
    }
    if problems.is_empty() {
        return Ok(weight_map);
    }
    Err(ModelError::Index {
        path: path.to_owned(),
        problems,
    })
}

/// What to do if a path is not a model directory, if that is known: it may be or hold a GGUF file, or hold an adapter.
#[must_use]
pub fn hint_for(path: &Path) -> Option<&'static str> {
    const GGUF: &str =
        "turn the GGUF file into a model directory first: `cadft model convert --gguf FILE --out DIR`";
    const ADAPTER: &str = "this is an adapter: give its model as the model and this directory with `--adapter`, or make one \
                           model of both with `cadft model merge`";
    let is_gguf = |path: &Path| {
        path.extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
    };
    if path.join("config.json").exists() {
        None
    } else if path.join(ADAPTER_CONFIG).exists() {
        Some(ADAPTER)
    } else if is_gguf(path) || entries(path).iter().any(|entry| is_gguf(entry)) {
        Some(GGUF)
    } else {
        None
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn no_weights(directory: &Path) -> ModelError {
    let pickle = directory.join("pytorch_model.bin");
    let index = directory.join("pytorch_model.bin.index.json");
    let hint = if pickle.exists() || index.exists() {
        Some(
            "`pytorch_model.bin` is not read: save the model as safetensors with transformers first"
                .to_owned(),
        )
    } else {
        hint_for(directory).map(str::to_owned)
    };
    ModelError::NoWeights {
        path: directory.to_owned(),
        hint,
    }
}
