//! `config.json` of a Hugging Face checkpoint: the settings of the decoder, and the original object.
//!
//! A key that would change the computation and is not supported is refused, with its name and value. Other keys are
//! kept, and written back when the model is saved.

#[cfg(feature = "files")]
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dtype::Dtype;
use crate::error::ModelError;
use crate::json;

mod by_block;
mod experts;
mod family;
mod keys;
mod layers;
mod linear_attention;
mod object;
mod options;
mod refused;
mod rope_parameters;
mod rope_scaling;
mod scales;
mod text_part;

pub use crate::fused::Activation;
pub use by_block::{ByBlock, PerLayerInputs};
pub use experts::Experts;
use family::{AttentionBias, Family, Rotary};
pub use keys::{GENERATION_KEYS_READ, GENERATION_WITHOUT_EFFECT, WITHOUT_EFFECT};
pub use layers::{KeySource, LayerAttention, Positions};
pub use linear_attention::LinearAttention;
use object::Object;
pub use options::{Fused, Norms, QueryKeyNorm, RotaryPairs, Temperature};
use refused::{activation_key, inconsistencies, refuse_unsupported};
use rope_parameters::RopeParameters;
pub use rope_scaling::RopeScaling;
use scales::{attention_scale, embedding_scale, multiplier, soft_cap};

/// The configuration of a decoder-only transformer, under the names of Hugging Face's `config.json`.
///
/// The public fields are read from the original object. That object, not the fields, is written back.
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
    /// The family: `llama`, `mistral`, `qwen2`, `qwen3`, `smollm3`, `gemma3_text`, `olmo2`, `olmo3`, `phi3`, `glm4`,
    /// `granite`, `granitemoehybrid`, `ministral3`, `qwen3_moe`, `olmoe`, `qwen3_5_text` or `gemma4_text`.
    pub model_type: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside a dense feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; defaults to `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; defaults to `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Longest sequence that the model supports.
    pub max_position_embeddings: usize,
    /// Added to the mean square before the square root.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Change of the rotary frequencies for long contexts.
    pub rope_scaling: RopeScaling,
    /// Base of the rotary frequencies of sliding layers (Gemma 3, `OLMo` 3).
    pub rope_local_base_freq: f64,
    /// Number of dimensions of a head that are rotated, counted from the first.
    pub rotary_dims: usize,
    /// Which dimensions are rotated together.
    pub rotary_pairs: RotaryPairs,
    /// Whether the embedding is also the output weight.
    pub tie_word_embeddings: bool,
    /// Whether the query, key and value projections have biases.
    pub attention_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub attention_output_bias: bool,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// The activation of the feed-forward gate.
    pub hidden_act: Activation,
    /// The experts of sparse feed-forward blocks; `None` if every block is dense.
    pub experts: Option<Experts>,
    /// The norms of a block.
    pub norms: Norms,
    /// The norms of queries and keys, before rotation.
    pub qk_norm: QueryKeyNorm,
    /// Whether full attention has a gate, which the query projection also computes.
    pub attention_gate: bool,
    /// The linear attention of some blocks; `None` if every block has full attention.
    pub linear_attention: Option<LinearAttention>,
    /// Limits the elements of queries, keys and values to `-clip ..= clip`.
    pub clip_qkv: Option<f64>,
    /// Which projections are fused into one matrix.
    pub fused: Fused,
    /// Factor of embeddings.
    pub embedding_scale: f64,
    /// Factor of the product of query and key.
    pub attention_scale: f64,
    /// Factor of the outputs of attention and of the feed-forward block.
    pub residual_scale: f64,
    /// Factor of logits.
    pub logits_scale: f64,
    /// The position-dependent factor of queries, if there is one.
    pub temperature: Option<Temperature>,
    /// Maps scores `s` to `cap · tanh(s / cap)`.
    pub attn_logit_softcapping: Option<f64>,
    /// Maps logits `z` to `cap · tanh(z / cap)`.
    pub final_logit_softcapping: Option<f64>,
    /// Window, positions and heads of the attention of each block.
    pub layers: Vec<LayerAttention>,
    /// What Gemma 4 adds to its blocks; `None` in other families.
    pub by_block: Option<ByBlock>,
    /// Standard deviation of a random initialisation.
    pub initializer_range: f64,
    /// Tokens that may begin a sequence.
    pub bos_token_id: Vec<u32>,
    /// Tokens that end a sequence.
    pub eos_token_id: Vec<u32>,
    /// The padding token.
    pub pad_token_id: Option<u32>,
    /// Whether the object was that of a model with a vision tower, which is left out.
    pub without_tower: bool,
    /// The object the fields were read from, without a vision tower.
    raw: Map<String, Value>,
}

impl ModelConfig {
    /// Reads a `config.json` file.
    ///
    /// # Errors
    /// If the file cannot be read or parsed, or if it uses an unsupported feature. One report names every such key with
    /// its value.
    #[cfg(feature = "files")]
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        if let Some(directory) = path.parent()
            && !path.exists()
            && let Some(hint) = crate::checkpoint::hint_for(directory)
        {
            let path = directory.to_owned();
            return Err(ModelError::NotAModel { path, hint });
        }
        let object = crate::file::read_object(path)?;
        parse(object).map_err(|problems| ModelError::Config {
            path: Some(path.to_owned()),
            problems,
        })
    }

    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    /// The same as [`ModelConfig::from_file`].
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let object = json::parse_object(text.as_bytes()).map_err(|error| ModelError::Config {
            path: None,
            problems: vec![error.to_string()],
        })?;
        Self::try_from(object)
    }

    /// The original object; an existing `torch_dtype` or `dtype` is set to `dtype`.
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

    /// Whether both describe the same computation. Keys without effect on it may differ.
    #[must_use]
    pub fn computes_as(&self, other: &Self) -> bool {
        let without_raw = |config: &Self| Self {
            without_tower: false,
            raw: Map::new(),
            ..config.clone()
        };
        without_raw(self) == without_raw(other)
    }

    /// The configuration of the same model with a separate output weight.
    pub(crate) fn untied(mut self) -> Self {
        self.tie_word_embeddings = false;
        self.raw.insert("tie_word_embeddings".to_owned(), false.into());
        self
    }

    /// Width inside the dense feed-forward block of block `index`.
    #[must_use]
    pub fn intermediate_size_of(&self, index: usize) -> usize {
        let is_double = self
            .by_block
            .as_ref()
            .is_some_and(|by_block| by_block.use_double_wide_mlp);
        if is_double && self.layers[index].key_source().is_some() {
            2 * self.intermediate_size
        } else {
            self.intermediate_size
        }
    }

    /// The inputs of the blocks, in Gemma 4.
    #[must_use]
    pub fn per_layer_inputs(&self) -> Option<PerLayerInputs> {
        self.by_block.as_ref()?.inputs
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

/// The token ids under a key of an object; empty if the key is absent.
pub(crate) fn token_ids(object: &Map<String, Value>, key: &str) -> Result<Vec<u32>, Vec<String>> {
    let mut object = Object::new(object);
    let ids = object.token_ids(key);
    match object.into_problems() {
        problems if problems.is_empty() => Ok(ids),
        problems => Err(problems),
    }
}

fn parse(raw: Map<String, Value>) -> Result<ModelConfig, Vec<String>> {
    let without_tower = text_part::has_tower(&raw);
    let raw = text_part::text_part(raw)?;
    let mut object = Object::new(&raw);
    let family = Family::of(&mut object);
    refuse_unsupported(&mut object, family);
    let hidden_size = object.required("hidden_size");
    let num_attention_heads = object.required("num_attention_heads");
    let num_key_value_heads = if family.ungrouped_by_default {
        object.positive("num_key_value_heads", num_attention_heads)
    } else {
        object.required("num_key_value_heads")
    };
    let default_head_dim = family.head_dim.unwrap_or(hidden_size / num_attention_heads);
    let head_dim = object.positive("head_dim", default_head_dim);
    let num_hidden_layers = layers::count(&mut object);
    let max_position_embeddings = object.positive("max_position_embeddings", family.max_position_embeddings);
    let [rope, local_rope] = rope(&mut object, family, max_position_embeddings);
    let (attention_bias, attention_output_bias) = attention_biases(&mut object, family);
    let heads = [head_dim, num_key_value_heads];
    let mut layers = layers::parse(&mut object, family, num_hidden_layers, heads);
    let by_block = by_block::parse(&mut object, family, &mut layers);
    let rotated_head_dim = (layers.iter())
        .find(|layer| layer.positions == Positions::Rotary)
        .map_or(head_dim, |layer| layer.head_dim);
    let intermediate_size = intermediate_size(&mut object, family);
    let mut config = ModelConfig {
        model_type: family.model_type.to_owned(),
        vocab_size: object.required("vocab_size"),
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        max_position_embeddings,
        rms_norm_eps: object.number_from_zero("rms_norm_eps", family.rms_norm_eps),
        rope_theta: rope.theta,
        rope_scaling: rope.scaling,
        rope_local_base_freq: local_rope.theta,
        rotary_dims: (rotated_head_dim as f64 * rope.partial_rotary_factor) as usize,
        rotary_pairs: family.rotary_pairs(),
        tie_word_embeddings: object.flag_or("tie_word_embeddings", family.tied),
        attention_bias,
        attention_output_bias,
        mlp_bias: family.mlp_bias && object.flag("mlp_bias"),
        hidden_act: activation(&mut object, family),
        experts: experts::parse(&mut object, family, num_hidden_layers, intermediate_size),
        norms: family.norms,
        qk_norm: family.qk_norm,
        attention_gate: family.linear_attention,
        linear_attention: linear_attention::parse(&mut object, family, num_hidden_layers),
        clip_qkv: clip_qkv(&mut object, family),
        fused: family.fused,
        embedding_scale: embedding_scale(&mut object, family, hidden_size),
        attention_scale: attention_scale(&mut object, family, head_dim),
        residual_scale: multiplier(&mut object, family, "residual_multiplier"),
        logits_scale: multiplier(&mut object, family, "logits_scaling").recip(),
        temperature: rope.temperature,
        attn_logit_softcapping: soft_cap(&mut object, family, "attn_logit_softcapping"),
        final_logit_softcapping: soft_cap(&mut object, family, "final_logit_softcapping"),
        layers,
        by_block,
        initializer_range: object.number_from_zero("initializer_range", 0.02),
        bos_token_id: object.token_ids("bos_token_id"),
        eos_token_id: object.token_ids("eos_token_id"),
        pad_token_id: object.token_ids("pad_token_id").first().copied(),
        without_tower,
        raw: Map::new(),
    };
    let mut problems = object.into_problems();
    if problems.is_empty() {
        problems.extend(inconsistencies(&config, family, &raw));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    config.raw = raw;
    Ok(config)
}

fn intermediate_size(object: &mut Object<'_>, family: &Family) -> usize {
    if family.is_hybrid() {
        object.positive("shared_intermediate_size", 1024)
    } else {
        object.required("intermediate_size")
    }
}

/// The limit of queries, keys and values.
fn clip_qkv(object: &mut Object<'_>, family: &Family) -> Option<f64> {
    if family.clips {
        object.optional_number("clip_qkv")
    } else {
        None
    }
}

/// The rotary parameters of full and of sliding layers.
fn rope(object: &mut Object<'_>, family: &Family, max_positions: usize) -> [RopeParameters; 2] {
    let local_theta = match family.rotary {
        Rotary::Gemma3 => object.number("rope_local_base_freq", 1e4),
        _ => family.rope_theta,
    };
    if !family.has_local_rotary() {
        let rope = rope_parameters::parse(object, family, max_positions);
        return [rope.clone(), rope];
    }
    let rope = rope_parameters::parse_by_layer_type(object, family, local_theta, max_positions);
    if rope[1].scaling != RopeScaling::Default {
        object.problem(
            "`rope_parameters.sliding_attention.rope_type` is not `default`; it is not supported".to_owned(),
        );
    }
    rope
}

/// Whether queries, keys and values have biases, and whether the output projection has one.
fn attention_biases(object: &mut Object<'_>, family: &Family) -> (bool, bool) {
    match family.attention_bias {
        AttentionBias::Never => (false, false),
        AttentionBias::QueryKeyValue => (true, false),
        AttentionBias::KeyWithoutOutput => (object.flag_or("attention_bias", true), false),
        AttentionBias::Key => {
            let has_bias = object.flag("attention_bias");
            (has_bias, has_bias)
        }
    }
}

fn activation(object: &mut Object<'_>, family: &Family) -> Activation {
    match object.text(activation_key(family)) {
        Some("gelu_pytorch_tanh") => Activation::GeluTanh,
        None if family.is_gemma() => Activation::GeluTanh,
        _ => Activation::Silu,
    }
}
