//! Converts the model settings of a GGUF file to Hugging Face's `config.json`.

use serde_json::{Map, Value as Json, json};

use super::architecture::{Architecture, NO_ROPE_INTERVAL, ROPE_FACTORS, is_sliding_by};
use super::file::{GgufFile, Value};
use super::rope;
use crate::checkpoint::Dtype;
use crate::config::RopeScaling;
use crate::error::ModelError;

/// The settings under the keys of one architecture.
struct Settings<'a> {
    file: &'a GgufFile,
    architecture: Architecture,
}

/// The architecture of a file.
pub(super) fn architecture(file: &GgufFile) -> Result<Architecture, ModelError> {
    let name = file.required("general.architecture", file.text("general.architecture")?)?;
    Architecture::named(name).ok_or_else(|| {
        let known = Architecture::names();
        let problem = format!("metadata `general.architecture` is `{name}`; supported: `{known}`");
        ModelError::gguf(&file.path, problem)
    })
}

/// The `config.json` that the metadata describes.
pub(super) fn config(
    file: &GgufFile,
    architecture: Architecture,
    dtype: Dtype,
) -> Result<Map<String, Json>, ModelError> {
    let settings = Settings { file, architecture };
    settings.refuse_unsupported()?;
    let (hidden_size, heads) = (
        settings.required("embedding_length")?,
        settings.required("attention.head_count")?,
    );
    let layers = settings.required("block_count")?;
    let head_dim = settings.head_dim(hidden_size, heads)?;
    let epsilon = settings.key("attention.layer_norm_rms_epsilon");
    let rope_theta = settings.float("rope.freq_base")?.unwrap_or(10_000.0);
    let token = |key: &str| file.unsigned(&format!("tokenizer.ggml.{key}_token_id"));
    let (model_type, class) = architecture.hugging_face();
    let config = json!({
        "architectures": [class],
        "attention_dropout": 0.0,
        "bos_token_id": token("bos")?,
        "eos_token_id": token("eos")?,
        "head_dim": head_dim,
        "hidden_size": hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": settings.required("feed_forward_length")?,
        "max_position_embeddings": settings.required("context_length")?,
        "model_type": model_type,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": settings.unsigned("attention.head_count_kv")?.unwrap_or(heads),
        "pad_token_id": token("padding")?,
        "rms_norm_eps": file.required(&epsilon, file.float(&epsilon)?)?,
        "rope_scaling": settings.rope_scaling(rope_theta)?,
        "rope_theta": rope_theta,
        "tie_word_embeddings": !file.tensors.contains_key("output.weight"),
        "torch_dtype": dtype.torch_name(),
        "use_cache": true,
        "vocab_size": settings.vocab_size()?,
    });
    let own = settings.own([hidden_size, heads, layers], head_dim)?;
    let mut all = Map::new();
    for object in [config, own] {
        if let Json::Object(object) = object {
            all.extend(object);
        }
    }
    all.sort_keys();
    Ok(all)
}

impl Settings<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name())
    }

    fn unsigned(&self, key: &str) -> Result<Option<u64>, ModelError> {
        self.file.unsigned(&self.key(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.file.float(&self.key(key))
    }

    /// A required size. It is limited before anything of that size is allocated.
    fn required(&self, key: &str) -> Result<u64, ModelError> {
        let size = self.file.required(&self.key(key), self.unsigned(key)?)?;
        let limit = if key == "block_count" { 100_000 } else { 1 << 26 };
        if size <= limit {
            return Ok(size);
        }
        self.problem(format!(
            "metadata `{}` is `{size}`; at most `{limit}` is supported",
            self.key(key)
        ))
    }

    fn problem<T>(&self, problem: impl Into<String>) -> Result<T, ModelError> {
        Err(ModelError::gguf(&self.file.path, problem))
    }

    fn refuse_unsupported(&self) -> Result<(), ModelError> {
        let key = self.key("expert_count");
        match self.file.get(&key) {
            None | Some(Value::Unsigned(0)) => Ok(()),
            Some(experts) => self.problem(format!("metadata `{key}` is `{experts:?}`; it is not supported")),
        }
    }

    fn head_dim(&self, hidden_size: u64, heads: u64) -> Result<u64, ModelError> {
        let default = hidden_size.checked_div(heads).unwrap_or(0);
        let head_dim = self.unsigned("attention.key_length")?.unwrap_or(default);
        let rotary = self.unsigned("rope.dimension_count")?.unwrap_or(head_dim);
        if rotary != head_dim {
            let key = self.key("rope.dimension_count");
            return self.problem(format!("metadata `{key}` is `{rotary}`; supported: `{head_dim}`"));
        }
        Ok(head_dim)
    }

    fn vocab_size(&self) -> Result<u64, ModelError> {
        match self.file.tensors.get("token_embd.weight") {
            Some(info) => Ok(info.shape[0] as u64),
            None => self.required("vocab_size"),
        }
    }

    /// The keys that only this architecture has.
    fn own(&self, [hidden_size, heads, layers]: [u64; 3], head_dim: u64) -> Result<Json, ModelError> {
        let has = |tensor: &str| self.file.tensors.contains_key(tensor);
        let (attention_bias, mlp_bias) = (has("blk.0.attn_q.bias"), has("blk.0.ffn_up.bias"));
        Ok(match self.architecture {
            Architecture::Llama => {
                json!({"attention_bias": attention_bias, "hidden_act": "silu", "mlp_bias": mlp_bias})
            }
            Architecture::Qwen2 => json!({"hidden_act": "silu", "use_sliding_window": false}),
            Architecture::Qwen3 => {
                json!({"attention_bias": attention_bias, "hidden_act": "silu", "use_sliding_window": false})
            }
            Architecture::SmolLm3 => {
                json!({"attention_bias": attention_bias, "hidden_act": "silu", "mlp_bias": mlp_bias,
                "no_rope_layer_interval": NO_ROPE_INTERVAL, "use_sliding_window": false})
            }
            Architecture::Gemma3 => {
                let sizes = [hidden_size, heads, layers, head_dim].map(|size| size as usize);
                let [hidden_size, heads, layers, head_dim] = sizes;
                let scalar = self
                    .architecture
                    .query_scale_size([hidden_size, heads, layers], head_dim);
                let cap = self.float("final_logit_softcapping")?.filter(|&cap| cap != 0.0);
                json!({"attention_bias": attention_bias, "attn_logit_softcapping": null,
                "final_logit_softcapping": cap, "hidden_activation": "gelu_pytorch_tanh",
                "layer_types": self.layer_types(layers)?, "query_pre_attn_scalar": scalar,
                "rope_local_base_freq": self.float("rope.freq_base_swa")?.unwrap_or(10_000.0),
                "sliding_window": self.unsigned("attention.sliding_window")?.unwrap_or(4096)})
            }
        })
    }

    /// The attention type of each block (Gemma 3).
    fn layer_types(&self, layers: usize) -> Result<Vec<&'static str>, ModelError> {
        let key = self.key("attention.sliding_window_pattern");
        let has_window = self
            .unsigned("attention.sliding_window")?
            .is_some_and(|size| size > 0);
        let sliding: Vec<bool> = match self.file.get(&key) {
            _ if !has_window => vec![false; layers],
            Some(Value::List(flags)) => self
                .file
                .elements(*flags)
                .map(|flag| !matches!(flag, Value::Bool(false) | Value::Unsigned(0) | Value::Signed(0)))
                .collect(),
            _ => {
                let pattern = self.file.unsigned(&key)?.unwrap_or(6) as usize;
                (0..layers).map(|index| is_sliding_by(pattern, index)).collect()
            }
        };
        Ok(sliding
            .into_iter()
            .map(|sliding| {
                if sliding {
                    "sliding_attention"
                } else {
                    "full_attention"
                }
            })
            .collect())
    }

    /// The `rope_scaling` for `config.json`.
    fn rope_scaling(&self, theta: f64) -> Result<Json, ModelError> {
        if let Some(info) = self.file.tensors.get(ROPE_FACTORS) {
            return self.llama3_scaling(&self.file.values(info), theta);
        }
        let key = self.key("rope.scaling.type");
        let kind = self.file.text(&key)?.unwrap_or("none");
        if kind == "none" {
            return Ok(Json::Null);
        }
        let factor_key = self.key("rope.scaling.factor");
        let factor = self.file.required(&factor_key, self.file.float(&factor_key)?)?;
        match kind {
            "linear" => Ok(json!({"rope_type": "linear", "factor": factor})),
            "yarn" if self.architecture != Architecture::Gemma3 => self.yarn_scaling(factor),
            other => self.problem(format!(
                "metadata `{key}` is `{other}`; supported: `none`, `linear`, `yarn` where all blocks rotate alike"
            )),
        }
    }

    fn yarn_scaling(&self, factor: f64) -> Result<Json, ModelError> {
        for (key, neutral) in [
            ("attn_factor", 1.0),
            ("yarn_attn_factor", 1.0),
            ("yarn_ext_factor", 1.0),
            ("yarn_log_multiplier", 0.0),
        ] {
            let key = self.key(&format!("rope.scaling.{key}"));
            if let Some(value) = self.file.float(&key)?
                && (value - neutral).abs() > 1e-6
            {
                return self.problem(format!("metadata `{key}` is `{value}`; supported: `{neutral}`"));
            }
        }
        let original = match self.unsigned("rope.scaling.original_context_length")? {
            Some(original) => original,
            None => self.required("context_length")?,
        };
        Ok(
            json!({"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
            "beta_fast": self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            "beta_slow": self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0)}),
        )
    }

    /// Llama 3.1 stores its scaling as divisors. Finds the rule with these divisors; an error if there is none.
    fn llama3_scaling(&self, divisors: &[f32], theta: f64) -> Result<Json, ModelError> {
        let rule = rope::llama3_rule(divisors, theta).filter(|_| self.architecture == Architecture::Llama);
        let Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) = rule
        else {
            return self.problem(format!(
                "tensor `{ROPE_FACTORS}` does not follow the rule of Llama 3.1; it is not supported"
            ));
        };
        Ok(
            json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings as u64}),
        )
    }
}
