//! The `llama` architecture of GGUF: metadata to `config.json`, tensor names, row order.

use serde_json::{Map, Value as Json, json};

use super::file::{GgufFile, Value};
use crate::checkpoint::Dtype;
use crate::config::{ModelConfig, RopeScaling};
use crate::error::ModelError;

/// The tensor with a divisor for every rotary frequency.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The `config.json` that the metadata describes.
pub(super) fn config(file: &GgufFile, dtype: Dtype) -> Result<Map<String, Json>, ModelError> {
    refuse_unsupported(file)?;
    let required = |key: &str| {
        let key = format!("llama.{key}");
        file.required(&key, file.unsigned(&key)?)
    };
    let (hidden_size, heads) = (required("embedding_length")?, required("attention.head_count")?);
    let kv_heads = file.unsigned("llama.attention.head_count_kv")?.unwrap_or(heads);
    let default_head_dim = hidden_size.checked_div(heads).unwrap_or(0);
    let head_dim = file
        .unsigned("llama.attention.key_length")?
        .unwrap_or(default_head_dim);
    let rotary = file.unsigned("llama.rope.dimension_count")?.unwrap_or(head_dim);
    if rotary != head_dim {
        let problem = format!("metadata `llama.rope.dimension_count` is `{rotary}`; supported: `{head_dim}`");
        return Err(ModelError::gguf(&file.path, problem));
    }
    let vocab_size = match (
        file.tensors.get("token_embd.weight"),
        file.unsigned("llama.vocab_size")?,
    ) {
        (Some(info), _) => info.shape[0] as u64,
        (None, size) => file.required("llama.vocab_size", size)?,
    };
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    let rope_theta = file.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let token = |key: &str| file.unsigned(&format!("tokenizer.ggml.{key}_token_id"));
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": file.tensors.contains_key("blk.0.attn_q.bias"),
        "attention_dropout": 0.0,
        "bos_token_id": token("bos")?,
        "eos_token_id": token("eos")?,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": required("feed_forward_length")?,
        "max_position_embeddings": required("context_length")?,
        "mlp_bias": file.tensors.contains_key("blk.0.ffn_up.bias"),
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": required("block_count")?,
        "num_key_value_heads": kv_heads,
        "pad_token_id": token("padding")?,
        "rms_norm_eps": file.required(epsilon, file.float(epsilon)?)?,
        "rope_scaling": rope_scaling(file, rope_theta)?,
        "rope_theta": rope_theta,
        "tie_word_embeddings": !file.tensors.contains_key("output.weight"),
        "torch_dtype": dtype.torch_name(),
        "use_cache": true,
        "vocab_size": vocab_size,
    });
    match config {
        Json::Object(config) => Ok(config),
        _ => Ok(Map::new()),
    }
}

fn refuse_unsupported(file: &GgufFile) -> Result<(), ModelError> {
    let architecture = file.required("general.architecture", file.text("general.architecture")?)?;
    if architecture != "llama" {
        let problem = format!("metadata `general.architecture` is `{architecture}`; supported: `llama`");
        return Err(ModelError::gguf(&file.path, problem));
    }
    match file.get("llama.expert_count") {
        None | Some(Value::Unsigned(0)) => Ok(()),
        Some(experts) => {
            let problem = format!("metadata `llama.expert_count` is `{experts:?}`; it is not supported");
            Err(ModelError::gguf(&file.path, problem))
        }
    }
}

/// The `rope_scaling` of `config.json`.
fn rope_scaling(file: &GgufFile, theta: f64) -> Result<Json, ModelError> {
    if let Some(info) = file.tensors.get(ROPE_FACTORS) {
        return llama3_scaling(file, &file.values(info), theta);
    }
    let key = "llama.rope.scaling.type";
    match file.text(key)? {
        None | Some("none") => Ok(Json::Null),
        Some("linear") => {
            let key = "llama.rope.scaling.factor";
            Ok(json!({"rope_type": "linear", "factor": file.required(key, file.float(key)?)?}))
        }
        Some(other) => {
            let problem = format!("metadata `{key}` is `{other}`; supported: `none`, `linear`");
            Err(ModelError::gguf(&file.path, problem))
        }
    }
}

/// Llama 3.1 stores its scaling as divisors: finds the rule they come from, and refuses others.
fn llama3_scaling(file: &GgufFile, divisors: &[f32], theta: f64) -> Result<Json, ModelError> {
    let factor = f64::from(divisors.iter().copied().fold(1.0, f32::max));
    let (low, high, original) = (1.0, 4.0, 8192_u32);
    let rule = RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original.into(),
    };
    let plain = RopeScaling::Default.frequencies(theta, divisors.len(), 0);
    let scaled = rule.frequencies(theta, divisors.len(), 0);
    let follows = (divisors.iter().zip(plain).zip(scaled))
        .all(|((&divisor, plain), scaled)| (scaled * f64::from(divisor) / plain - 1.0).abs() < 1e-4);
    if !follows {
        let problem =
            format!("tensor `{ROPE_FACTORS}` does not follow the rule of Llama 3.1; it is not supported");
        return Err(ModelError::gguf(&file.path, problem));
    }
    Ok(
        json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
        "original_max_position_embeddings": original}),
    )
}

/// The GGUF name of a Hugging Face weight.
pub(super) fn gguf_name(name: &str) -> String {
    const PARTS: [(&str, &str); 13] = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    PARTS
        .iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// Undoes the reordering of query and key rows for llama.cpp's rotary layout.
///
/// There, the two halves of a rotated pair are neighbours; here they are half a head apart.
pub(super) fn restore_rows(name: &str, values: Vec<f32>, config: &ModelConfig) -> Vec<f32> {
    reorder_rows(name, values, config, |row, head_dim| {
        let (half, pair) = (row / (head_dim / 2), row % (head_dim / 2));
        2 * pair + half
    })
}

/// Reorders query and key rows for llama.cpp's rotary layout; the inverse of [`restore_rows`].
pub(super) fn interleave_rows(name: &str, values: Vec<f32>, config: &ModelConfig) -> Vec<f32> {
    reorder_rows(name, values, config, |row, head_dim| {
        let (pair, half) = (row / 2, row % 2);
        half * (head_dim / 2) + pair
    })
}

/// Takes row `source(row, head_dim)` of each head of a query or key projection for its row `row`.
fn reorder_rows(
    name: &str,
    values: Vec<f32>,
    config: &ModelConfig,
    source: impl Fn(usize, usize) -> usize,
) -> Vec<f32> {
    let heads = if name.contains("self_attn.q_proj") {
        config.num_attention_heads
    } else if name.contains("self_attn.k_proj") {
        config.num_key_value_heads
    } else {
        return values;
    };
    let head_dim = config.head_dim;
    let width = values.len() / (heads * head_dim);
    let mut reordered = Vec::with_capacity(values.len());
    for head in 0..heads {
        for row in 0..head_dim {
            let start = (head * head_dim + source(row, head_dim)) * width;
            reordered.extend_from_slice(&values[start..start + width]);
        }
    }
    reordered
}
