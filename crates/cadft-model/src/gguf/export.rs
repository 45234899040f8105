//! Exports a Hugging Face checkpoint as a GGUF file for llama.cpp and Ollama.

use std::path::Path;

use super::architecture::{Architecture, ROPE_FACTORS, sliding_pattern};
use super::mix::{GgufDtype, Model};
use super::quant::GgmlType;
use super::rope;
use super::vocabulary;
use super::write::{self, Field, Output};
use crate::checkpoint::{self, fits_f16};
use crate::config::{ModelConfig, RopeScaling};
use crate::error::ModelError;
use crate::parameters::{ParameterTensor, visit_tensors};

/// Writes the checkpoint in `directory` as a GGUF file. Returns the number of parameters.
///
/// # Errors
/// If the checkpoint cannot be read, if it uses a feature that the file cannot express, or if the file cannot be
/// written. Nothing is left behind.
pub fn export_gguf(directory: &Path, gguf_path: &Path, dtype: GgufDtype) -> Result<usize, ModelError> {
    let device = burn::tensor::Device::default();
    let checkpoint = checkpoint::load(directory, &device)?;
    let config = &checkpoint.config;
    let Some(architecture) = Architecture::of(config) else {
        let problem = format!("llama.cpp has no architecture for `{}`", config.model_type);
        return Err(ModelError::gguf(gguf_path, problem));
    };
    let mut problems = architecture.unsupported(config);
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
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let mut metadata = vec![
        ("general.name".to_owned(), Field::Text(name.into_owned())),
        ("general.file_type".to_owned(), Field::U32(dtype.file_type())),
    ];
    metadata.extend(settings(config, architecture));
    metadata.extend(vocabulary);

    let mut parameters = vec![];
    visit_tensors(&checkpoint.model, &mut |name, _, tensor| {
        parameters.push((name.to_owned(), tensor));
    });
    for (name, tensor) in &parameters {
        fits_f16(name, &values(tensor))?;
    }
    let model = Model {
        architecture: architecture.name(),
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        key_value_heads: config.num_key_value_heads,
        is_tied: config.tie_word_embeddings,
    };
    let mut tensors: Vec<Output<'_>> = parameters
        .iter()
        .map(|(name, tensor)| {
            let (name_in_file, shape) = (architecture.tensor_name(name), tensor.shape());
            Output {
                kind: dtype.of(&name_in_file, &shape, &model),
                name: name_in_file,
                shape,
                values: Box::new(|| architecture.exported(name, values(tensor), config)),
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

/// The settings of the model, under the keys of its architecture.
fn settings(config: &ModelConfig, architecture: Architecture) -> Vec<(String, Field)> {
    let number = |value: usize| Field::U32(u32::try_from(value).unwrap_or(u32::MAX));
    let mut fields = vec![
        ("block_count", number(config.num_hidden_layers)),
        ("context_length", number(context_length(config, architecture))),
        ("embedding_length", number(config.hidden_size)),
        ("feed_forward_length", number(config.intermediate_size)),
        ("attention.head_count", number(config.num_attention_heads)),
        ("attention.head_count_kv", number(config.num_key_value_heads)),
        ("attention.layer_norm_rms_epsilon", real(config.rms_norm_eps)),
        ("attention.key_length", number(config.head_dim)),
        ("attention.value_length", number(config.head_dim)),
        ("rope.freq_base", real(config.rope_theta)),
        ("rope.dimension_count", number(config.head_dim)),
        ("vocab_size", number(config.vocab_size)),
    ];
    fields.extend(rope_scaling(config));
    if architecture == Architecture::Gemma3
        && let Some(window) = config.layers.iter().find_map(|layer| layer.window)
    {
        let pattern = sliding_pattern(config).unwrap_or_default();
        fields.extend([
            ("attention.sliding_window", number(window)),
            ("attention.sliding_window_pattern", number(pattern)),
            ("rope.freq_base_swa", real(config.rope_local_base_freq)),
        ]);
    }
    let name = architecture.name();
    let general = [
        ("general.architecture", Field::Text(name.to_owned())),
        ("general.quantization_version", Field::U32(2)),
    ];
    (general.into_iter().map(|(key, field)| (key.to_owned(), field)))
        .chain(
            fields
                .into_iter()
                .map(|(key, field)| (format!("{name}.{key}"), field)),
        )
        .collect()
}

/// GGUF stores real numbers as f32.
#[expect(clippy::cast_possible_truncation, reason = "the format of the file")]
fn real(value: f64) -> Field {
    Field::F32(value as f32)
}

/// The longest sequence. In llama.cpp only Gemma 3 has windows; other models behave the same up to the window's length.
fn context_length(config: &ModelConfig, architecture: Architecture) -> usize {
    let windows = config.layers.iter().filter_map(|layer| layer.window);
    match windows.min() {
        Some(window) if architecture != Architecture::Gemma3 => window.min(config.max_position_embeddings),
        _ => config.max_position_embeddings,
    }
}

fn rope_scaling(config: &ModelConfig) -> Vec<(&'static str, Field)> {
    let kind = |name: &str| ("rope.scaling.type", Field::Text(name.to_owned()));
    match config.rope_scaling {
        RopeScaling::Linear { factor } => vec![kind("linear"), ("rope.scaling.factor", real(factor))],
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings: original,
            ..
        } => vec![
            kind("yarn"),
            ("rope.scaling.factor", real(factor)),
            (
                "rope.scaling.original_context_length",
                Field::U32(original as u32),
            ),
            ("rope.scaling.yarn_beta_fast", real(beta_fast)),
            ("rope.scaling.yarn_beta_slow", real(beta_slow)),
        ],
        RopeScaling::Default
        | RopeScaling::Dynamic { .. }
        | RopeScaling::LongRope { .. }
        | RopeScaling::Llama3 { .. }
        | RopeScaling::Proportional { .. } => vec![],
    }
}

/// The divisors of the rotary frequencies, for models with Llama 3.1's scaling.
fn rope_factors(config: &ModelConfig) -> Option<Output<'static>> {
    if !matches!(config.rope_scaling, RopeScaling::Llama3 { .. }) {
        return None;
    }
    let pairs = config.head_dim / 2;
    let divisors = rope::divisors(&config.rope_scaling, config.rope_theta, pairs);
    Some(Output {
        name: ROPE_FACTORS.to_owned(),
        shape: vec![pairs],
        kind: GgmlType::F32,
        values: Box::new(move || divisors.clone()),
    })
}
