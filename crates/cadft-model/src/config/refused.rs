//! What is refused of a `config.json`: keys that would change the computation, and sizes that contradict each other.

use serde_json::{Map, Value};

use super::family::{AttentionBias, Family};
use super::object::Object;
use super::{ModelConfig, keys};
use crate::json;

/// The key that names the activation.
pub(super) fn activation_key(family: &Family) -> &'static str {
    if family.is_gemma() {
        "hidden_activation"
    } else {
        "hidden_act"
    }
}

/// Refuses every key that would change the computation in a way the decoder does not implement.
pub(super) fn refuse_unsupported(object: &mut Object<'_>, family: &Family) {
    let activations = ["silu", "swish", "gelu_pytorch_tanh"];
    object.expect_text(activation_key(family), &activations, Some("silu"));
    object.expect_number("attention_dropout", 0.0);
    object.expect_number("partial_rotary_factor", 1.0);
    for key in keys::ABSENT {
        object.expect_absent(key);
    }
    for key in keys::OFF {
        object.expect_off(key);
    }
    if !object.flag_or("is_causal", true) {
        object.problem("`is_causal` is `false`; it is not supported".to_owned());
    }
    if family.attention_bias == AttentionBias::Never {
        object.expect_off("attention_bias");
    }
    if !family.mlp_bias {
        object.expect_off("mlp_bias");
    }
    if !family.is_gemma() {
        object.expect_absent("attn_logit_softcapping");
    }
    if let Some(architectures) = object.get("architectures")
        && !architectures
            .as_array()
            .is_some_and(|names| names.iter().any(|name| name == family.architecture))
    {
        object.problem(format!(
            "`architectures` is `{}`; supported: `[\"{}\"]`",
            json::show(architectures),
            family.architecture
        ));
    }
}

/// What of a configuration contradicts itself.
pub(super) fn inconsistencies(config: &ModelConfig, raw: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(count) = too_many_parameters(config) {
        problems.push(format!(
            "the sizes make about {count:.0e} parameters, more than any model has"
        ));
    }
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
    let family_sets_head_dim = matches!(config.model_type.as_str(), "qwen3" | "gemma3_text");
    if raw.get("head_dim").is_none_or(Value::is_null)
        && !family_sets_head_dim
        && !hidden_size.is_multiple_of(*num_attention_heads)
    {
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

/// More parameters than sums of them can hold.
fn too_many_parameters(config: &ModelConfig) -> Option<f64> {
    let [hidden, inner, vocab, layers] = [
        config.hidden_size,
        config.intermediate_size,
        config.vocab_size,
        config.num_hidden_layers,
    ]
    .map(|size| size as f64);
    let attention =
        (2 * config.num_attention_heads + 2 * config.num_key_value_heads) as f64 * config.head_dim as f64;
    let count = 2.0 * vocab * hidden + layers * hidden * (attention + 3.0 * inner);
    (count > 1e15).then_some(count)
}
