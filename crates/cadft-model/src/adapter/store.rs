//! PEFT directories: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use serde_json::{Map, Value};

use super::peft::{self, PeftConfig};
use super::targets::is_parameter_of;
use super::{AdapterConfig, AdapterTargets, TargetModules};
use crate::checkpoint::{
    ChatFormat, Dtype, MappedFile, Replacement, Weight, carry, to_pretty_json, write_file, write_shard,
};
use crate::config::ModelConfig;
use crate::decoder::CausalLm;
use crate::error::ModelError;
use crate::parameters::{expected_parameters, visit_tensors};

/// The name of the configuration in an adapter directory.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The name of the weights in an adapter directory.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before every name.
const PREFIX: &str = "base_model.model.";
const EMBEDDING: &str = "model.embed_tokens.weight";
const OUTPUT: &str = "lm_head.weight";

/// What is stored with an adapter.
#[derive(Clone, Debug)]
pub struct AdapterSave<'a> {
    /// The adapter.
    pub adapter: &'a AdapterConfig,
    /// The configuration of the model it belongs to.
    pub config: &'a ModelConfig,
    /// The model's name or directory, as others should look for it.
    pub base_model: BaseModel,
    /// A model directory to copy the tokenizer files from.
    pub carry_from: Option<PathBuf>,
    /// What the carried files must say.
    pub chat: ChatFormat,
}

/// The model that an adapter belongs to, as `adapter_config.json` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseModel {
    /// A directory, or `OWNER/NAME` on the Hub.
    pub name: String,
    /// A branch, tag or commit on the Hub; its `main` where none is named.
    pub revision: Option<String>,
}

impl BaseModel {
    /// As recipes and commands name it: the directory, or `hf://OWNER/NAME@REVISION` where there is none.
    #[must_use]
    pub fn path(&self) -> String {
        let parts: Vec<&str> = self.name.split('/').collect();
        let is_hub_name = matches!(parts[..], [owner, name] if !owner.is_empty() && !name.is_empty());
        let name = match &self.name {
            name if Path::new(name).is_dir() => return name.clone(),
            name if name.starts_with("hf://") => name.clone(),
            name if is_hub_name && !name.starts_with('.') => format!("hf://{name}"),
            name => return name.clone(),
        };
        match &self.revision {
            Some(revision) if !name.contains('@') => format!("{name}@{revision}"),
            _ => name,
        }
    }
}

impl From<&str> for BaseModel {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            revision: None,
        }
    }
}

/// Writes the adapter of `model` into `directory` as PEFT does, in f32.
///
/// The directory appears complete or not at all; an adapter that is already there is replaced. Where input embedding
/// and output weight are tied and trained, both names are written with the same values.
///
/// # Errors
/// When a file cannot be read or written, and when the directory exists and holds other files.
pub fn save(directory: &Path, model: &CausalLm, parts: &AdapterSave<'_>) -> Result<(), ModelError> {
    let targets = parts
        .adapter
        .targets(parts.config)
        .map_err(|problems| ModelError::Adapter {
            path: directory.to_owned(),
            problems,
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
    let config = peft::to_json(parts.adapter, &targets, &parts.base_model, tied);
    write_file(&replacement.path().join(ADAPTER_CONFIG), &to_pretty_json(&config))?;
    if let Some(source) = &parts.carry_from {
        carry(source, replacement.path())?;
    }
    parts.chat.apply_to_adapter(replacement.path())?;
    replacement.finish()
}

/// Reads `adapter_config.json`: the adapter, and the model it says it belongs to.
///
/// # Errors
/// When the file cannot be read, and when it asks for something that is not supported.
pub fn read_config(directory: &Path) -> Result<(AdapterConfig, Option<BaseModel>), ModelError> {
    let PeftConfig {
        adapter, base_model, ..
    } = read_peft(directory)?;
    Ok((adapter, base_model))
}

fn read_peft(directory: &Path) -> Result<PeftConfig, ModelError> {
    let path = directory.join(ADAPTER_CONFIG);
    let text = std::fs::read(&path).map_err(|source| ModelError::io("read", &path, source))?;
    let object: Map<String, Value> = serde_json::from_slice(&text).map_err(|source| ModelError::Json {
        path: path.clone(),
        source,
    })?;
    peft::parse(&object).map_err(|problems| ModelError::Adapter { path, problems })
}

/// Attaches the adapter in `directory` to a model.
///
/// # Errors
/// When a file is missing or corrupt, when the adapter uses something that is not supported, and when its tensors do
/// not fit the model or its own configuration: one report lists all that does not fit.
pub fn load(
    directory: &Path,
    model: CausalLm,
    config: &ModelConfig,
) -> Result<(CausalLm, AdapterConfig), ModelError> {
    let PeftConfig {
        mut adapter,
        is_complete,
        ..
    } = read_peft(directory)?;
    let path = directory.join(ADAPTER_WEIGHTS);
    let fail = |problems| ModelError::Adapter {
        path: path.clone(),
        problems,
    };
    let file = MappedFile::open(path.clone())?;
    let parsed = file.parse()?;
    let tensors: BTreeMap<String, TensorView<'_>> = parsed
        .iter()
        .map(|(name, view)| (plain_name(name), view))
        .collect();
    if !is_complete {
        let layers = tensors
            .keys()
            .filter_map(|name| name.strip_suffix(".lora_A.weight"));
        adapter.target_modules = TargetModules::Names(layers.map(str::to_owned).collect());
    }
    let targets = adapter.targets(config).map_err(fail)?;
    let values = Stored { tensors: &tensors }
        .check(&adapter, &targets, config)
        .map_err(fail)?;
    let device = model.device();
    let model = model
        .attach(&adapter, &targets, &device, &mut |name, _| {
            values.get(name).cloned().unwrap_or_default()
        })
        .assign(&values);
    Ok((model, adapter))
}

/// Without PEFT's prefix, and with the two spellings of magnitudes made one.
fn plain_name(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    match name.strip_suffix(".lora_magnitude_vector.weight") {
        Some(layer) => format!("{layer}.lora_magnitude_vector"),
        None => name.to_owned(),
    }
}

struct Stored<'a> {
    tensors: &'a BTreeMap<String, TensorView<'a>>,
}

impl Stored<'_> {
    /// The values by name, where they fit exactly.
    fn check(
        &self,
        adapter: &AdapterConfig,
        targets: &AdapterTargets,
        config: &ModelConfig,
    ) -> Result<BTreeMap<String, Vec<f32>>, Vec<String>> {
        let expected = self.expected(adapter, targets, config);
        let mut problems = vec![];
        let names: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let tied_output = config.tie_word_embeddings && names.contains(EMBEDDING);
        for name in self.tensors.keys() {
            if name == OUTPUT && config.tie_word_embeddings {
                if !tied_output || self.bytes(OUTPUT) != self.bytes(EMBEDDING) {
                    problems.push(format!(
                        "`{name}`: differs from the embedding although the model ties the two; train with \
                         `ensure_weight_tying`"
                    ));
                }
            } else if !names.contains(name.as_str()) {
                problems.push(format!("`{name}`: unused"));
            }
        }
        let mut values = BTreeMap::new();
        for (name, shape) in expected {
            let Some(view) = self.tensors.get(&name) else {
                problems.push(format!("`{name}`: missing"));
                continue;
            };
            if view.shape() != shape {
                let found = view.shape();
                problems.push(format!("`{name}`: expected `{shape:?}`, found `{found:?}`"));
                continue;
            }
            let Some(dtype) = Dtype::from_safetensors(view.dtype()) else {
                problems.push(format!("`{name}`: type `{}` is not supported", view.dtype()));
                continue;
            };
            let decoded = dtype.decode(view.data());
            if decoded.iter().any(|value| !value.is_finite()) {
                problems.push(format!("`{name}`: holds NaN or infinite values"));
            }
            values.insert(name, decoded);
        }
        if problems.is_empty() {
            Ok(values)
        } else {
            Err(problems)
        }
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.tensors.get(name).map(TensorView::data)
    }

    fn expected(
        &self,
        adapter: &AdapterConfig,
        targets: &AdapterTargets,
        config: &ModelConfig,
    ) -> Vec<(String, Vec<usize>)> {
        let mut expected = vec![];
        for (layer, [output, input]) in &targets.layers {
            expected.push((format!("{layer}.lora_A.weight"), vec![adapter.rank, *input]));
            expected.push((format!("{layer}.lora_B.weight"), vec![*output, adapter.rank]));
            if adapter.kind == super::AdapterKind::Dora {
                expected.push((format!("{layer}.lora_magnitude_vector"), vec![*output]));
            }
        }
        let whole = expected_parameters(config)
            .into_iter()
            .filter(|(name, _)| targets.saved.iter().any(|module| is_parameter_of(name, module)));
        expected.extend(whole);
        expected
    }
}
