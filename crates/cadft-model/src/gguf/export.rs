//! A Hugging Face checkpoint of the `llama` family as a GGUF file for llama.cpp and Ollama.

use std::path::Path;

use super::llama::{self, ROPE_FACTORS};
use super::quant::GgmlType;
use super::vocabulary;
use super::write::{self, Field, Output};
use crate::checkpoint::{self, fits_f16};
use crate::config::{ModelConfig, RopeScaling};
use crate::decoder::Rope;
use crate::error::ModelError;
use crate::parameters::{ParameterTensor, visit_tensors};

/// How the matrices of a GGUF file are stored; vectors are F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufDtype {
    /// Half precision.
    F16,
    /// Blocks of 32 weights of 8 bits with a scale; rows that are not whole blocks are F16.
    Q8_0,
}

impl GgufDtype {
    /// llama.cpp's number for files of this type.
    fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q8_0 => 7,
        }
    }

    fn of(self, shape: &[usize]) -> GgmlType {
        match (self, shape) {
            (_, [_]) => GgmlType::F32,
            (Self::Q8_0, [.., width]) if width.is_multiple_of(32) => GgmlType::Q8_0,
            _ => GgmlType::F16,
        }
    }
}

/// Writes the checkpoint in `directory` as a GGUF file; the number of its parameters.
///
/// # Errors
/// When the checkpoint cannot be read, when it uses something that the file cannot express, and when the file cannot be
/// written; nothing is left behind then.
pub fn export_gguf(directory: &Path, gguf_path: &Path, dtype: GgufDtype) -> Result<usize, ModelError> {
    let device = burn::tensor::Device::default();
    let checkpoint = checkpoint::load(directory, &device)?;
    let config = &checkpoint.config;
    let mut problems = unsupported(config);
    let vocabulary = match vocabulary::read(directory, config)? {
        Ok(fields) => fields,
        Err(found) => {
            problems.extend(found);
            vec![]
        }
    };
    if !problems.is_empty() {
        return Err(ModelError::Gguf {
            path: gguf_path.to_owned(),
            problems,
        });
    }
    let mut metadata = metadata(config, directory, dtype);
    metadata.extend(vocabulary);

    let mut parameters = vec![];
    visit_tensors(&checkpoint.model, &mut |name, _, tensor| {
        parameters.push((name.to_owned(), tensor));
    });
    for (name, tensor) in &parameters {
        fits_f16(name, &values(tensor))?;
    }
    let mut tensors: Vec<Output<'_>> = parameters
        .iter()
        .map(|(name, tensor)| {
            let shape = tensor.shape();
            Output {
                name: llama::gguf_name(name),
                kind: dtype.of(&shape),
                shape,
                values: Box::new(|| llama::interleave_rows(name, values(tensor), config)),
            }
        })
        .collect();
    tensors.extend(rope_factors(config));
    write::write(gguf_path, &metadata, &tensors)?;
    Ok(parameters
        .iter()
        .map(|(_, tensor)| tensor.shape().iter().product::<usize>())
        .sum())
}

fn values(tensor: &ParameterTensor) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

/// What the `llama` architecture of GGUF has no place for.
fn unsupported(config: &ModelConfig) -> Vec<String> {
    let mut problems = vec![];
    if config.model_type != "llama" {
        problems.push(format!(
            "`model_type` is `{}`; only `llama` is written",
            config.model_type
        ));
    }
    let scaling = &config.rope_scaling;
    if !matches!(
        scaling,
        RopeScaling::Default | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. }
    ) {
        problems.push(format!("`rope_scaling` is `{scaling:?}`; it is not written"));
    }
    problems
}

fn metadata(config: &ModelConfig, directory: &Path, dtype: GgufDtype) -> Vec<(String, Field)> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let number = |value: usize| Field::U32(u32::try_from(value).unwrap_or(u32::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "GGUF stores it as f32")]
    let real = |value: f64| Field::F32(value as f32);
    let mut fields = vec![
        ("general.architecture", Field::Text("llama".to_owned())),
        ("general.name", Field::Text(name.into_owned())),
        ("general.file_type", Field::U32(dtype.file_type())),
        ("general.quantization_version", Field::U32(2)),
        ("llama.block_count", number(config.num_hidden_layers)),
        ("llama.context_length", number(config.max_position_embeddings)),
        ("llama.embedding_length", number(config.hidden_size)),
        ("llama.feed_forward_length", number(config.intermediate_size)),
        ("llama.attention.head_count", number(config.num_attention_heads)),
        (
            "llama.attention.head_count_kv",
            number(config.num_key_value_heads),
        ),
        (
            "llama.attention.layer_norm_rms_epsilon",
            real(config.rms_norm_eps),
        ),
        ("llama.attention.key_length", number(config.head_dim)),
        ("llama.attention.value_length", number(config.head_dim)),
        ("llama.rope.freq_base", real(config.rope_theta)),
        ("llama.rope.dimension_count", number(config.head_dim)),
        ("llama.vocab_size", number(config.vocab_size)),
    ];
    if let RopeScaling::Linear { factor } = config.rope_scaling {
        fields.push(("llama.rope.scaling.type", Field::Text("linear".to_owned())));
        fields.push(("llama.rope.scaling.factor", real(factor)));
    }
    fields
        .into_iter()
        .map(|(key, field)| (key.to_owned(), field))
        .collect()
}

/// The divisors of the frequencies, where Llama 3.1 scales them.
fn rope_factors(config: &ModelConfig) -> Option<Output<'static>> {
    if !matches!(config.rope_scaling, RopeScaling::Llama3 { .. }) {
        return None;
    }
    let pairs = config.head_dim / 2;
    let plain = |pair: usize| config.rope_theta.powf(-(pair as f64) / pairs as f64);
    #[expect(clippy::cast_possible_truncation, reason = "GGUF stores them as f32")]
    let divisors: Vec<f32> = Rope::new(config)
        .frequencies(config.max_position_embeddings)
        .iter()
        .enumerate()
        .map(|(pair, scaled)| (plain(pair) / scaled) as f32)
        .collect();
    Some(Output {
        name: ROPE_FACTORS.to_owned(),
        shape: vec![pairs],
        kind: GgmlType::F32,
        values: Box::new(move || divisors.clone()),
    })
}
