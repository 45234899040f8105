//! PEFT directories: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;

use super::peft::{self, BaseModel, PeftConfig, read_peft};
use super::resolve::Resolved;
use super::stored::Stored;
use super::targets::is_parameter_of;
use super::{AdapterConfig, TargetModules, head};
use crate::checkpoint::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, ChatFormat, Dtype, MappedFile, Replacement, Weight, carry, write_shard,
};
use crate::config::ModelConfig;
use crate::decoder::CausalLm;
use crate::error::ModelError;
use crate::file::write_file;
use crate::json;
use crate::parameters::visit_tensors;

/// PEFT's prefix of every name.
const PREFIX: &str = "base_model.model.";
const EMBEDDING: &str = "model.embed_tokens.weight";
const OUTPUT: &str = "lm_head.weight";

/// The settings of a stored adapter.
#[derive(Clone, Debug)]
pub struct AdapterSave<'a> {
    /// The adapter.
    pub adapter: &'a AdapterConfig,
    /// The configuration of the base model.
    pub config: &'a ModelConfig,
    /// The name or directory of the base model, for those who load the adapter.
    pub base_model: BaseModel,
    /// A model directory to copy the tokenizer files from.
    pub carry_from: Option<PathBuf>,
    /// The chat format that the copied files must have.
    pub chat: ChatFormat,
}

/// Writes the adapter of `model` into `directory` as PEFT does, in f32.
///
/// The directory appears complete or not at all; an existing adapter is replaced. If embedding and output weight are
/// tied and trained, both names are written with the same values.
///
/// # Errors
/// If a file cannot be read or written, or if the directory exists and holds other files.
pub fn save(directory: &Path, model: &CausalLm, parts: &AdapterSave<'_>) -> Result<(), ModelError> {
    let targets = parts
        .adapter
        .targets(parts.config)
        .map_err(|problems| ModelError::Adapter {
            path: directory.to_owned(),
            problems,
            bases: None,
        })?;
    let tied = parts.config.tie_word_embeddings;
    let mut tensors = Vec::new();
    visit_tensors(model, &mut |name, _, tensor| {
        let is_saved = targets.saved.iter().any(|module| is_parameter_of(name, module));
        if is_saved && tied && name == EMBEDDING {
            tensors.push((format!("{PREFIX}{OUTPUT}"), tensor.clone()));
        }
        if is_saved || name.contains(".lora_") {
            tensors.push((format!("{PREFIX}{name}"), tensor));
        }
    });
    let weights: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| Weight {
            name: name.clone(),
            shape: tensor.shape(),
            values: Box::new(|| tensor.to_data().iter::<f32>().collect()),
        })
        .collect();
    let replacement = Replacement::begin(directory)?;
    write_shard(&replacement.path().join(ADAPTER_WEIGHTS), &weights, Dtype::F32)?;
    let config = peft::to_json(parts.adapter, &targets, &parts.base_model, parts.config);
    write_file(&replacement.path().join(ADAPTER_CONFIG), &json::pretty(&config))?;
    if let Some(source) = &parts.carry_from {
        carry(source, replacement.path())?;
    }
    parts.chat.apply_to_adapter(replacement.path())?;
    replacement.finish()
}

/// Reads `adapter_config.json`: the adapter's settings, and the base model if it is named.
///
/// # Errors
/// If the file cannot be read or uses an unsupported feature.
pub fn read_config(directory: &Path) -> Result<(AdapterConfig, Option<BaseModel>), ModelError> {
    let PeftConfig {
        adapter, base_model, ..
    } = read_peft(directory)?;
    Ok((adapter, base_model))
}

/// A model with an adapter from a PEFT directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Adapted {
    /// The model with the adapter attached. Updates of the embedding and of the output weight are merged already.
    pub model: CausalLm,
    /// The adapter's settings, with full names of layers and modules.
    pub adapter: AdapterConfig,
    /// The configuration of the model with the adapter, which may untie the output weight.
    pub config: ModelConfig,
}

/// Attaches the adapter in `directory` to a model.
///
/// # Errors
/// If a file is missing or corrupt, if the adapter uses an unsupported feature, or if its tensors do not fit the model
/// or the adapter's settings. One report lists all problems.
pub fn load(directory: &Path, model: CausalLm, config: &ModelConfig) -> Result<Adapted, ModelError> {
    let peft = read_peft(directory)?;
    let bases = peft.bases();
    let problem = |name: &str| {
        let (path, bases) = (directory.join(name), bases.clone());
        move |problems| ModelError::Adapter {
            path,
            problems,
            bases,
        }
    };
    let Resolved {
        adapter,
        config,
        ends,
    } = (peft.resolve(config)).map_err(problem(ADAPTER_CONFIG))?;
    let targets = if matches!(&adapter.target_modules, TargetModules::Names(names) if names.is_empty()) {
        adapter.targets_without_updates(&config)
    } else {
        adapter.targets(&config)
    };
    let targets = targets.map_err(problem(ADAPTER_CONFIG))?;
    let file = MappedFile::open(weights_of(directory)?)?;
    let parsed = file.parse()?;
    let tensors: BTreeMap<String, TensorView<'_>> = parsed
        .iter()
        .map(|(name, view)| (plain_name(name), view))
        .collect();
    let model = if config.tie_word_embeddings {
        model
    } else {
        model.untied()
    };
    let values = Stored { tensors: &tensors }
        .check(&adapter, &targets, (&config, &ends), &model)
        .map_err(problem(ADAPTER_WEIGHTS))?;
    let device = model.device();
    let model = ends
        .iter()
        .fold(model, |model, end| head::merge(model, end, &adapter, &values));
    let model = model
        .attach(&adapter, &targets, &device, &mut |name, _| {
            values.get(name).cloned().unwrap_or_default()
        })
        .assign(&values);
    let packed = model.packed_among(&targets.saved);
    if !packed.is_empty() {
        return Err(problem(ADAPTER_CONFIG)(packed));
    }
    let zero_rows = model.zero_rows();
    if !zero_rows.is_empty() {
        return Err(problem(ADAPTER_WEIGHTS)(zero_rows));
    }
    Ok(Adapted {
        model,
        adapter,
        config,
    })
}

/// The file of the weights. PEFT's older format is a pickle, which is refused.
fn weights_of(directory: &Path) -> Result<PathBuf, ModelError> {
    let path = directory.join(ADAPTER_WEIGHTS);
    if !path.exists() && directory.join("adapter_model.bin").exists() {
        return Err(ModelError::Pickle(directory.join("adapter_model.bin")));
    }
    Ok(path)
}

/// Removes PEFT's prefix, and unifies the two names of magnitudes.
fn plain_name(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    match name.strip_suffix(".lora_magnitude_vector.weight") {
        Some(layer) => format!("{layer}.lora_magnitude_vector"),
        None => name.to_owned(),
    }
}
