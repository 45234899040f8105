//! Reading a checkpoint: maps files into memory, checks everything, then converts one tensor at a time.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value};

use super::experts;
use super::files::{ParsedFile, WeightFiles};
use super::report::{CheckpointReport, ShapeMismatch};
use crate::adapter::FrozenBase;
use crate::config::{GENERATION_KEYS_READ, ModelConfig, token_ids};
use crate::decoder::CausalLm;
use crate::dtype::Dtype;
use crate::error::ModelError;
use crate::file;
use crate::parameters::expected_parameters;

const OUTPUT_WEIGHT: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A checkpoint loaded from a directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The directory of the checkpoint.
    pub directory: PathBuf,
    /// The content of `config.json`.
    pub config: ModelConfig,
    /// The model, in f32 but for what was packed.
    pub model: CausalLm,
    /// The content of `generation_config.json`, if the file exists.
    pub generation_config: Option<Map<String, Value>>,
}

impl Checkpoint {
    /// The tokens that end a generated sequence, from `generation_config.json`, or from `config.json` if that names
    /// none.
    #[must_use]
    pub fn stop_token_ids(&self) -> Vec<u32> {
        let ids = match &self.generation_config {
            Some(config) => token_ids(config, "eos_token_id").unwrap_or_default(),
            None => vec![],
        };
        if ids.is_empty() {
            self.config.eos_token_id.clone()
        } else {
            ids
        }
    }
}

/// Loads the checkpoint in `directory` onto `device`.
///
/// The weights are in `model.safetensors`, or in the files that `model.safetensors.index.json` lists, as f32, f16 or
/// bf16. On a device with autodiff the parameters are trainable.
///
/// # Errors
/// If a file is missing, truncated or corrupt, if the configuration is not supported, or if the weights do not fit the
/// configuration exactly. One report lists all problems. `rotary_emb.inv_freq` is ignored, and so is an
/// `lm_head.weight` that repeats the tied embedding.
pub fn load(directory: &Path, device: &Device) -> Result<Checkpoint, ModelError> {
    load_on_base(directory, device, None)
}

/// As [`load`], with the linear weights of the blocks packed as `base` says. Each is packed as it is read, so that memory
/// holds the packed weights, and one more in f32.
///
/// # Errors
/// As [`load`].
pub fn load_on_base(
    directory: &Path,
    device: &Device,
    base: Option<&FrozenBase>,
) -> Result<Checkpoint, ModelError> {
    let config = ModelConfig::from_file(&directory.join("config.json"))?;
    let generation_config = read_generation_config(&directory.join("generation_config.json"))?;
    let files = WeightFiles::open(directory)?;
    let parsed = files.parse()?;
    let tensors = Tensors::collect(&config, &parsed);
    let mut report = tensors.compare(&config);
    report.mis_indexed = files.mis_indexed(&parsed);
    if !report.is_empty() {
        return Err(misfit(directory, report));
    }
    let model = CausalLm::on_base(&config, device, base, &mut |name, _| {
        let values = tensors.values(name);
        files.release(tensors.bytes(name));
        if !values.iter().all(|value| value.is_finite()) {
            report.non_finite.push(name.to_owned());
        }
        values
    });
    if !report.is_empty() {
        return Err(misfit(directory, report));
    }
    Ok(Checkpoint {
        directory: directory.to_owned(),
        config,
        model,
        generation_config,
    })
}

fn misfit(directory: &Path, report: CheckpointReport) -> ModelError {
    ModelError::Checkpoint {
        path: directory.to_owned(),
        report: Box::new(report),
    }
}

/// Reads `generation_config.json`, if it exists. The keys that are used must be valid.
fn read_generation_config(path: &Path) -> Result<Option<Map<String, Value>>, ModelError> {
    if !path.exists() {
        return Ok(None);
    }
    let object = file::read_object(path)?;
    match GENERATION_KEYS_READ
        .iter()
        .find_map(|key| token_ids(&object, key).err())
    {
        Some(problems) => Err(ModelError::Config {
            path: Some(path.to_owned()),
            problems,
        }),
        None => Ok(Some(object)),
    }
}

/// The tensors of all files, by name.
struct Tensors<'a> {
    by_name: HashMap<Cow<'a, str>, (&'a str, TensorView<'a>)>,
    duplicated: BTreeSet<String>,
}

impl<'a> Tensors<'a> {
    fn collect(config: &ModelConfig, files: &'a [ParsedFile<'a>]) -> Self {
        let mut tensors = Self {
            by_name: HashMap::new(),
            duplicated: BTreeSet::new(),
        };
        for file in files {
            for (name, view) in file.tensors.iter() {
                let Some(name) = text_name(config, name) else {
                    continue;
                };
                match experts::matrices(config, &name, &view) {
                    Some(matrices) => {
                        for (name, view) in matrices {
                            tensors.insert(Cow::Owned(name), (&file.name, view));
                        }
                    }
                    None => tensors.insert(name, (&file.name, view)),
                }
            }
        }
        tensors
    }

    fn insert(&mut self, name: Cow<'a, str>, found: (&'a str, TensorView<'a>)) {
        if self.by_name.contains_key(&name) {
            self.duplicated.insert(name.to_string());
        }
        self.by_name.insert(name, found);
    }

    /// All differences of names, types and shapes from what the configuration requires.
    fn compare(&self, config: &ModelConfig) -> CheckpointReport {
        let mut report = CheckpointReport {
            duplicated: self.duplicated.iter().cloned().collect(),
            untied: config.tie_word_embeddings && self.head_differs_from_embedding(),
            ..CheckpointReport::default()
        };
        let mut unused: BTreeSet<&str> = self.by_name.keys().map(Cow::as_ref).collect();
        unused.retain(|name| !name.ends_with("rotary_emb.inv_freq"));
        if config.tie_word_embeddings {
            unused.remove(OUTPUT_WEIGHT);
        }
        for (name, expected) in expected_parameters(config) {
            unused.remove(name.as_str());
            let Some((file, view)) = self.by_name.get(name.as_str()) else {
                report.missing.push(name);
                continue;
            };
            if Dtype::from_safetensors(view.dtype()).is_none() {
                report.unsupported.push((name.clone(), view.dtype().to_string()));
            }
            if view.shape() != expected {
                let (found, file) = (view.shape().to_vec(), (*file).to_owned());
                report.mis_shaped.push(ShapeMismatch {
                    name,
                    expected,
                    found,
                    file,
                });
            }
        }
        report.unused = unused.into_iter().map(str::to_owned).collect();
        report
    }

    fn head_differs_from_embedding(&self) -> bool {
        match (self.by_name.get(OUTPUT_WEIGHT), self.by_name.get(EMBEDDING)) {
            (Some((_, head)), Some((_, embedding))) => {
                head.data() != embedding.data() && !same_values(head, embedding)
            }
            _ => false,
        }
    }

    fn bytes(&self, name: &str) -> &'a [u8] {
        self.by_name.get(name).map_or(&[], |(_, view)| view.data())
    }

    /// The values of a tensor, for a checkpoint that passed the comparison.
    fn values(&self, name: &str) -> Vec<f32> {
        self.by_name
            .get(name)
            .and_then(|(_, view)| Some(Dtype::from_safetensors(view.dtype())?.decode(view.data())))
            .unwrap_or_default()
    }
}

/// The beginnings of the names of tensors that transformers leaves out of a language model, too: those of towers for images and
/// sound, and of the prediction of further tokens.
const LEFT_OUT: [&str; 6] = [
    "model.visual.",
    "mtp.",
    "model.vision_tower.",
    "model.embed_vision.",
    "model.audio_tower.",
    "model.embed_audio.",
];

/// The name of a tensor in the language model; `None` for what is left out.
fn text_name<'a>(config: &ModelConfig, name: &'a str) -> Option<Cow<'a, str>> {
    if !config.attention_gate && config.by_block.is_none() {
        return Some(Cow::Borrowed(name));
    }
    if LEFT_OUT.iter().any(|start| name.starts_with(start)) {
        return None;
    }
    let name = match name.strip_prefix("model.language_model.") {
        Some(rest) => Cow::Owned(format!("model.{rest}")),
        None => Cow::Borrowed(name),
    };
    (!is_of_shared_keys(config, &name)).then_some(name)
}

/// Whether a tensor would make keys or values in a block that has those of another one. Published files of Gemma 4 have such
/// tensors; transformers does not read them.
fn is_of_shared_keys(config: &ModelConfig, name: &str) -> bool {
    let parts = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once(".self_attn."));
    let Some((index, part)) = parts else { return false };
    let layer = index
        .parse::<usize>()
        .ok()
        .and_then(|index| config.layers.get(index));
    let is_shared = layer.is_some_and(|layer| layer.key_source().is_some());
    let makes_keys = |part: &str| ["k_proj", "v_proj", "k_norm", "v_norm"].contains(&part);
    is_shared && part.split('.').next().is_some_and(makes_keys)
}

/// Whether two tensors hold the same numbers in different types.
fn same_values(first: &TensorView<'_>, second: &TensorView<'_>) -> bool {
    let values = |view: &TensorView<'_>| Some(Dtype::from_safetensors(view.dtype())?.decode(view.data()));
    first.shape() == second.shape() && first.dtype() != second.dtype() && values(first) == values(second)
}
