//! `config.json` of a Hugging Face checkpoint: what the decoder needs, and the object it came from.
//!
//! A key that would change the computation and is not supported is refused by name and value; keys that do not
//! matter to the computation are kept, and written back when the model is saved.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::Dtype;
use crate::error::ModelError;

mod object;
mod rope_scaling;

use object::Object;
pub use rope_scaling::RopeScaling;

/// The configuration of a decoder-only transformer, under the names of Hugging Face's `config.json`.
///
/// The public fields are what was read from the original object; that object, not the fields, is written back.
///
/// # Examples
///
/// ```
/// let config = cadft_model::ModelConfig::from_json(
///     r#"{"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
///         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}"#,
/// )?;
/// assert_eq!((config.head_dim, config.rope_theta), (8, 10_000.0));
/// # Ok::<(), cadft_model::ModelError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
#[non_exhaustive]
pub struct ModelConfig {
    /// The architecture family; only `llama` for now.
    pub model_type: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; defaults to `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; defaults to `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// Added to the mean square before its root.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Change of the rotary frequencies for long contexts.
    pub rope_scaling: RopeScaling,
    /// Whether the embedding also is the output weight.
    pub tie_word_embeddings: bool,
    /// Whether the attention projections have biases.
    pub attention_bias: bool,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Standard deviation of a random initialisation.
    pub initializer_range: f64,
    /// Tokens that may open a sequence.
    pub bos_token_id: Vec<u32>,
    /// Tokens that end a sequence.
    pub eos_token_id: Vec<u32>,
    /// The padding token.
    pub pad_token_id: Option<u32>,
    /// The object the fields were read from.
    raw: Map<String, Value>,
}

impl ModelConfig {
    /// Reads a `config.json` file.
    ///
    /// # Errors
    /// When the file cannot be read or parsed, and when it asks for something unsupported: one report names every
    /// such key with its value.
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::io("read", path, source))?;
        let object = serde_json::from_str(&text).map_err(|source| ModelError::Json {
            path: path.to_owned(),
            source,
        })?;
        parse(object).map_err(|problems| ModelError::Config {
            path: Some(path.to_owned()),
            problems,
        })
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// As [`ModelConfig::from_file`].
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let object =
            serde_json::from_str::<Map<String, Value>>(text).map_err(|error| ModelError::Config {
                path: None,
                problems: vec![error.to_string()],
            })?;
        Self::try_from(object)
    }

    /// The original object, with `torch_dtype` or `dtype` naming `dtype` where such a key is present.
    #[must_use]
    pub fn to_object(&self, dtype: Dtype) -> Map<String, Value> {
        let mut object = self.raw.clone();
        for key in ["torch_dtype", "dtype"] {
            if let Some(value) = object.get_mut(key) {
                *value = dtype.torch_name().into();
            }
        }
        object
    }

    /// Number of query heads that share one key and value head.
    #[must_use]
    pub fn num_key_value_groups(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }
}

impl TryFrom<Map<String, Value>> for ModelConfig {
    type Error = ModelError;

    fn try_from(object: Map<String, Value>) -> Result<Self, ModelError> {
        parse(object).map_err(|problems| ModelError::Config { path: None, problems })
    }
}

impl From<ModelConfig> for Map<String, Value> {
    fn from(config: ModelConfig) -> Self {
        config.raw
    }
}

fn parse(raw: Map<String, Value>) -> Result<ModelConfig, Vec<String>> {
    let mut object = Object::new(&raw);
    refuse_unsupported(&mut object);
    let hidden_size = object.required("hidden_size");
    let num_attention_heads = object.required("num_attention_heads");
    let (rope_theta, rope_scaling) = rope_scaling::parse(&mut object);
    let mut config = ModelConfig {
        model_type: "llama".to_owned(),
        vocab_size: object.required("vocab_size"),
        hidden_size,
        intermediate_size: object.required("intermediate_size"),
        num_hidden_layers: object.required("num_hidden_layers"),
        num_attention_heads,
        num_key_value_heads: object.positive("num_key_value_heads", num_attention_heads),
        head_dim: object.positive("head_dim", hidden_size / num_attention_heads),
        max_position_embeddings: object.positive("max_position_embeddings", 2048),
        rms_norm_eps: object.number("rms_norm_eps", 1e-6),
        rope_theta,
        rope_scaling,
        tie_word_embeddings: object.flag("tie_word_embeddings"),
        attention_bias: object.flag("attention_bias"),
        mlp_bias: object.flag("mlp_bias"),
        initializer_range: object.number("initializer_range", 0.02),
        bos_token_id: object.token_ids("bos_token_id"),
        eos_token_id: object.token_ids("eos_token_id"),
        pad_token_id: object.token_ids("pad_token_id").first().copied(),
        raw: Map::new(),
    };
    let mut problems = object.into_problems();
    if problems.is_empty() {
        problems.extend(inconsistencies(&config, &raw));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    config.raw = raw;
    Ok(config)
}

/// Refuses every key that would change the computation in a way the decoder does not implement.
fn refuse_unsupported(object: &mut Object<'_>) {
    object.expect_text("model_type", &["llama"], None);
    object.expect_text("hidden_act", &["silu", "swish"], Some("silu"));
    object.expect_number("attention_dropout", 0.0);
    object.expect_number("partial_rotary_factor", 1.0);
    object.expect_absent("quantization_config");
    if let Some(architectures) = object.get("architectures")
        && !architectures
            .as_array()
            .is_some_and(|names| names.iter().any(|name| name == "LlamaForCausalLM"))
    {
        object.problem(format!(
            "`architectures` is `{architectures}`; supported: `[\"LlamaForCausalLM\"]`"
        ));
    }
}

fn inconsistencies(config: &ModelConfig, raw: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let ModelConfig {
        hidden_size,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        ..
    } = config;
    if !num_attention_heads.is_multiple_of(*num_key_value_heads) {
        problems.push(format!(
            "`num_attention_heads` `{num_attention_heads}` is not a multiple of `num_key_value_heads` \
             `{num_key_value_heads}`"
        ));
    }
    if raw.get("head_dim").is_none_or(Value::is_null) && !hidden_size.is_multiple_of(*num_attention_heads) {
        problems.push(format!(
            "`hidden_size` `{hidden_size}` is not a multiple of `num_attention_heads` `{num_attention_heads}`"
        ));
    }
    if !head_dim.is_multiple_of(2) {
        problems.push(format!(
            "`head_dim` is `{head_dim}`; rotary embeddings need an even number"
        ));
    }
    problems
}
