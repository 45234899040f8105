//! Writing a checkpoint: under a temporary name next to its target, then renamed.

use std::fs;
use std::path::{Path, PathBuf};

use cadft_files::{Action, NewDirectory};

use super::carry::{CARRIED_FILES, ChatFormat, OTHER_TEMPLATES, carry, carry_over};
use super::files::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use super::weights::{Weight, write_weights};
use crate::config::ModelConfig;
use crate::decoder::CausalLm;
use crate::dtype::Dtype;
use crate::error::ModelError;
use crate::file::write_file;
use crate::json;
use crate::parameters::{ParameterTensor, visit_tensors};

/// How a checkpoint is written.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// The type of the stored weights.
    pub dtype: Dtype,
    /// Size in bytes above which weights are split into several files.
    pub max_shard_bytes: usize,
    /// A checkpoint directory to copy the [`CARRIED_FILES`] from.
    pub carry_from: Option<PathBuf>,
    /// The directory of a merged adapter: its tokenizer and template replace the copied ones.
    pub carry_over: Option<PathBuf>,
    /// The chat format that the copied files must have.
    pub chat: ChatFormat,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            dtype: Dtype::F32,
            max_shard_bytes: 5_000_000_000,
            carry_from: None,
            carry_over: None,
            chat: ChatFormat::default(),
        }
    }
}

/// Writes `model` as a Hugging Face checkpoint into `directory`.
///
/// The directory appears complete or not at all; an existing checkpoint is replaced.
///
/// # Errors
/// If a file cannot be read or written, if the directory exists and holds files that do not belong to a checkpoint, if
/// a weight is too large for f16, or if the model has an unmerged adapter or packed weights.
pub fn save(
    directory: &Path,
    model: &CausalLm,
    config: &ModelConfig,
    options: &SaveOptions,
) -> Result<(), ModelError> {
    if model.has_adapter() || model.is_packed() {
        return Err(ModelError::Unmerged(directory.to_owned()));
    }
    check_fits(model, options.dtype)?;
    let tensors = tensors(model);
    let weights: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| Weight {
            name: name.clone(),
            shape: tensor.shape(),
            values: Box::new(|| values(tensor)),
        })
        .collect();

    let replacement = Replacement::begin(directory)?;
    write_weights(
        replacement.path(),
        &weights,
        options.dtype,
        options.max_shard_bytes,
    )?;
    let mut object = config.to_object(options.dtype);
    options.chat.set_stop_tokens(&mut object);
    write_file(&replacement.path().join("config.json"), &json::pretty(&object))?;
    if let Some(source) = &options.carry_from {
        carry(source, replacement.path())?;
    }
    if let Some(adapter) = &options.carry_over {
        carry_over(adapter, replacement.path())?;
    }
    options.chat.apply(replacement.path())?;
    replacement.finish()
}

/// Checks that every weight of `model` stays finite in `dtype`.
///
/// # Errors
/// [`ModelError::F16Overflow`] for the first weight that is too large.
pub fn check_fits(model: &CausalLm, dtype: Dtype) -> Result<(), ModelError> {
    if dtype != Dtype::F16 {
        return Ok(());
    }
    tensors(model)
        .iter()
        .try_for_each(|(name, tensor)| fits_f16(name, &values(tensor)))
}

fn tensors(model: &CausalLm) -> Vec<(String, ParameterTensor)> {
    let mut tensors = Vec::new();
    visit_tensors(model, &mut |name, _, tensor| {
        tensors.push((name.to_owned(), tensor));
    });
    tensors
}

fn values(tensor: &ParameterTensor) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

/// Returns an error if a finite value would become infinite.
pub(crate) fn fits_f16(name: &str, values: &[f32]) -> Result<(), ModelError> {
    match values
        .iter()
        .find(|value| value.is_finite() && half::f16::from_f32(**value).is_infinite())
    {
        Some(&value) => Err(ModelError::F16Overflow {
            tensor: name.to_owned(),
            value,
        }),
        None => Ok(()),
    }
}

/// A directory under construction that replaces its target when it is complete.
pub(crate) struct Replacement {
    target: PathBuf,
    directory: NewDirectory,
}

impl Replacement {
    /// Creates a temporary directory next to `target`.
    pub(crate) fn begin(target: &Path) -> Result<Self, ModelError> {
        refuse_other_files(target)?;
        Ok(Self {
            target: target.to_owned(),
            directory: NewDirectory::begin(target)
                .map_err(|error| ModelError::io(Action::Create, target, error))?,
        })
    }

    /// The temporary directory to write into.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Moves the directory to its target, synchronised to the disk.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        make_readable(self.path())?;
        (self.directory.finish()).map_err(|error| ModelError::io(Action::Write, &self.target, error))
    }
}

/// safetensors creates files that only the owner can read: gives them the permissions of the others.
fn make_readable(directory: &Path) -> Result<(), ModelError> {
    let io = |error| ModelError::io(Action::Permit, directory, error);
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !path.is_dir() {
            cadft_files::make_readable(&path).map_err(io)?;
        }
    }
    Ok(())
}

/// Refuses to replace a directory that holds files of other programs.
fn refuse_other_files(directory: &Path) -> Result<(), ModelError> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    let is_ours = |name: &str| {
        ["config.json", ADAPTER_CONFIG, ADAPTER_WEIGHTS].contains(&name)
            || CARRIED_FILES.contains(&name)
            || name == OTHER_TEMPLATES
            || (name.starts_with("model") && name.contains(".safetensors"))
    };
    let mut others: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| !is_ours(name))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    others.sort();
    Err(ModelError::DirectoryInUse {
        path: directory.to_owned(),
        entries: others,
    })
}
