//! `cadft model`.

use crate::args::{ConvertArgs, DtypeName, ModelInspectArgs};
use crate::console::{count, note};
use crate::{model, output};
use anyhow::Result;
use cadft_data::Tokenizer;
use cadft_model::parameters::expected_parameters;
use cadft_model::{Dtype, ModelConfig, gguf};
use serde::Serialize;

/// What `config.json` and the tokenizer say.
#[derive(Serialize)]
struct Inspection {
    model_type: String,
    parameters: usize,
    num_hidden_layers: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    tie_word_embeddings: bool,
    has_chat_template: bool,
    stop_tokens: Vec<String>,
}

pub(crate) fn inspect(args: &ModelInspectArgs) -> Result<()> {
    let directory = model::directory(&args.directory)?;
    let config = ModelConfig::from_file(&directory.join("config.json"))?;
    let tokenizer = Tokenizer::from_dir(&directory)?;
    let stop_tokens = tokenizer.stop_token_ids().iter();
    let inspection = Inspection {
        parameters: expected_parameters(&config)
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum(),
        num_hidden_layers: config.num_hidden_layers,
        hidden_size: config.hidden_size,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        vocab_size: config.vocab_size,
        max_position_embeddings: config.max_position_embeddings,
        tie_word_embeddings: config.tie_word_embeddings,
        has_chat_template: tokenizer.chat_template().is_ok(),
        stop_tokens: stop_tokens
            .map(|&id| tokenizer.token(id).unwrap_or_else(|| id.to_string()))
            .collect(),
        model_type: config.model_type,
    };
    if args.json {
        return output::json_line(&inspection);
    }
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    output::table(&[
        ("model type", inspection.model_type),
        ("parameters", count(inspection.parameters)),
        ("layers", inspection.num_hidden_layers.to_string()),
        ("hidden size", inspection.hidden_size.to_string()),
        ("query heads", inspection.num_attention_heads.to_string()),
        ("key and value heads", inspection.num_key_value_heads.to_string()),
        ("vocabulary", inspection.vocab_size.to_string()),
        ("positions", inspection.max_position_embeddings.to_string()),
        ("tied embeddings", yes_no(inspection.tie_word_embeddings)),
        ("chat template", yes_no(inspection.has_chat_template)),
        ("stop tokens", inspection.stop_tokens.join(" ")),
    ])
}

pub(crate) fn convert(args: &ConvertArgs) -> Result<()> {
    let dtype = match args.dtype {
        DtypeName::F32 => Dtype::F32,
        DtypeName::Bf16 => Dtype::Bf16,
        DtypeName::F16 => Dtype::F16,
    };
    let import = gguf::import_gguf(&args.gguf, &args.out, dtype)?;
    let types: Vec<_> = import
        .tensor_types
        .iter()
        .map(|(name, tensors)| format!("{tensors} {name}"))
        .collect();
    note(&format!(
        "{} parameters (tensors: {}) are in `{}` as {}",
        count(import.parameters),
        types.join(", "),
        args.out.display(),
        dtype.torch_name(),
    ));
    Ok(())
}
