//! GGUF files: imported as Hugging Face checkpoint directories, and written from them.
//!
//! Import dequantises the weights, restores the rows that llama.cpp reorders for its rotary layout, and rebuilds the
//! tokenizer from the metadata. The directory then loads like any other checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Map, Value};

use crate::checkpoint::{Dtype, Replacement, SaveOptions, Weight, fits_f16, write_weights};
use crate::config::ModelConfig;
use crate::decoder::CausalLm;
use crate::error::ModelError;
use crate::file::write_file;
use crate::json;
use crate::parameters::expected_parameters;

mod architecture;
mod export;
mod file;
mod mix;
mod pre_tokenizer;
mod quant;
mod quantise;
mod quantise_k;
mod rope;
mod sentence_piece;
mod settings;
mod tokenizer;
mod tokens;
mod vocabulary;
mod write;

use architecture::{Architecture, ROPE_FACTORS};
pub use export::export_gguf;
use file::{GgufFile, TensorInfo};
pub use mix::GgufDtype;

/// The result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GgufImport {
    /// Number of parameters.
    pub parameters: usize,
    /// Number of tensors of each stored type, such as `Q4_1`.
    pub tensor_types: BTreeMap<&'static str, usize>,
}

/// Converts the GGUF file at `gguf_path` to a Hugging Face checkpoint in `directory`. Weights are stored as `dtype`.
///
/// Supported types: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K. Supported architectures: `llama`,
/// `qwen2`, `qwen3`, `smollm3` and `gemma3`. Supported tokenizers: byte-level BPE with a known pre-tokenizer, and
/// SentencePiece's BPE (`llama`).
///
/// # Errors
/// If the file is malformed or uses an unsupported feature, or if the directory cannot be written. Nothing is left
/// behind.
pub fn import_gguf(gguf_path: &Path, directory: &Path, dtype: Dtype) -> Result<GgufImport, ModelError> {
    let file = GgufFile::open(gguf_path)?;
    let (architecture, config_json, config) = configured(&file, dtype)?;
    let tensors = match_tensors(&file, &config, architecture)?;
    let tokenizer = tokenizer::files(&file, architecture)?;

    let weights: Vec<_> = tensors
        .iter()
        .map(|(name, info)| Weight {
            name: name.clone(),
            shape: info.shape.clone(),
            values: Box::new(|| architecture.imported(name, file.values(info), &config)),
        })
        .collect();
    let (mut non_finite, mut fits) = (Vec::new(), Ok(()));
    for weight in &weights {
        let values = (weight.values)();
        if !values.iter().all(|value| value.is_finite()) {
            non_finite.push(not_finite(&architecture.tensor_name(&weight.name)));
        }
        if dtype == Dtype::F16 {
            fits = fits.and_then(|()| fits_f16(&weight.name, &values));
        }
    }
    if !non_finite.is_empty() {
        return Err(ModelError::Gguf {
            path: gguf_path.to_owned(),
            problems: non_finite,
        });
    }
    fits?;
    let replacement = Replacement::begin(directory)?;
    let max_shard_bytes = SaveOptions::default().max_shard_bytes;
    write_weights(replacement.path(), &weights, dtype, max_shard_bytes)?;
    write_file(
        &replacement.path().join("config.json"),
        &json::pretty(&config_json),
    )?;
    for (name, content) in tokenizer {
        write_file(&replacement.path().join(name), &json::pretty(&content))?;
    }
    replacement.finish()?;

    let mut tensor_types = BTreeMap::new();
    for (_, info) in &tensors {
        *tensor_types.entry(info.kind.name()).or_default() += 1;
    }
    let parameters = tensors
        .iter()
        .map(|(_, info)| info.shape.iter().product::<usize>())
        .sum();
    Ok(GgufImport {
        parameters,
        tensor_types,
    })
}

/// The model in a GGUF file, in f32: what [`import_gguf`] writes, without a directory.
///
/// # Errors
/// As [`import_gguf`], but that the tokenizer is not read.
pub fn load_gguf(gguf_path: &Path, device: &Device) -> Result<(ModelConfig, CausalLm), ModelError> {
    let file = GgufFile::open(gguf_path)?;
    let (architecture, _, config) = configured(&file, Dtype::F32)?;
    let tensors: BTreeMap<_, _> = match_tensors(&file, &config, architecture)?.into_iter().collect();
    let mut non_finite = vec![];
    let model = CausalLm::with_values(&config, device, &mut |name, shape| {
        // Every parameter has a tensor, since the two lists are the same.
        let Some(info) = tensors.get(name) else {
            return vec![0.0; shape.iter().product()];
        };
        let values = architecture.imported(name, file.values(info), &config);
        if !values.iter().all(|value| value.is_finite()) {
            non_finite.push(not_finite(&architecture.tensor_name(name)));
        }
        values
    });
    if non_finite.is_empty() {
        return Ok((config, model));
    }
    Err(ModelError::Gguf {
        path: file.path,
        problems: non_finite,
    })
}

fn not_finite(tensor: &str) -> String {
    format!("tensor `{tensor}` holds NaN or infinite values")
}

/// The architecture of a file and its `config.json`.
fn configured(
    file: &GgufFile,
    dtype: Dtype,
) -> Result<(Architecture, Map<String, Value>, ModelConfig), ModelError> {
    let architecture = settings::architecture(file)?;
    let config_json = settings::config(file, architecture, dtype)?;
    let config = ModelConfig::try_from(config_json.clone()).map_err(|error| match error {
        ModelError::Config { problems, .. } => ModelError::Gguf {
            path: file.path.clone(),
            problems,
        },
        other => other,
    })?;
    Ok((architecture, config_json, config))
}

/// Finds the tensor of every parameter. One report names all that are missing, unused or of a wrong shape.
fn match_tensors<'f>(
    file: &'f GgufFile,
    config: &ModelConfig,
    architecture: Architecture,
) -> Result<Vec<(String, &'f TensorInfo)>, ModelError> {
    let mut problems = Vec::new();
    let mut unused: BTreeSet<&str> = file.tensors.keys().map(String::as_str).collect();
    unused.remove(ROPE_FACTORS);
    let mut tensors = Vec::new();
    for (name, expected) in expected_parameters(config) {
        let gguf_name = architecture.tensor_name(&name);
        unused.remove(gguf_name.as_str());
        match file.tensors.get(&gguf_name) {
            None => problems.push(format!("tensor `{gguf_name}` is missing")),
            Some(info) if info.shape != expected => problems.push(format!(
                "tensor `{gguf_name}`: expected `{expected:?}`, found `{:?}`",
                info.shape
            )),
            Some(info) => tensors.push((name, info)),
        }
    }
    problems.extend(
        unused
            .iter()
            .map(|name| format!("tensor `{name}` has no place in the model")),
    );
    if problems.is_empty() {
        return Ok(tensors);
    }
    Err(ModelError::Gguf {
        path: file.path.clone(),
        problems,
    })
}
