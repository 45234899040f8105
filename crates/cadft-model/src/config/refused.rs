//! Refused configurations: keys that would change the computation, and sizes that contradict each other.

use serde_json::{Map, Value};

use super::family::{AttentionBias, Family, Rotary};
use super::object::Object;
use super::rope_parameters::rope_key;
use super::{ModelConfig, RopeScaling, by_block, keys};
use crate::json;

/// The key with the name of the activation.
pub(super) fn activation_key(family: &Family) -> &'static str {
    if family.is_gemma() {
        "hidden_activation"
    } else {
        "hidden_act"
    }
}

/// Refuses every key that would change the computation in an unimplemented way.
pub(super) fn refuse_unsupported(object: &mut Object<'_>, family: &Family) {
    // The activation of linear attention's convolution has this name, too.
    let activations: &[&str] = if family.linear_attention {
        &["silu", "swish"]
    } else {
        &["silu", "swish", "gelu_pytorch_tanh"]
    };
    object.expect_text(activation_key(family), activations, Some("silu"));
    object.expect_number("attention_dropout", 0.0);
    match family.rotary {
        Rotary::Phi => {
            object.expect_number("resid_pdrop", 0.0);
            object.expect_number("embd_pdrop", 0.0);
        }
        Rotary::Glm | Rotary::Qwen35 | Rotary::Gemma4 => {}
        _ => object.expect_number("partial_rotary_factor", 1.0),
    }
    if family.is_hybrid() && object.whole("num_local_experts", 8) != 0 {
        object.problem("`num_local_experts` is not `0`; experts are not supported".to_owned());
    }
    let of_blocks = |key: &str| family.by_block && key == "per_layer_config";
    for key in keys::ABSENT.iter().filter(|key| !of_blocks(key)) {
        object.expect_absent(key);
    }
    for key in keys::OFF {
        let concerns_images = |value| family.by_block && by_block::concerns_images(key, value);
        if !object.get(key).is_some_and(concerns_images) {
            object.expect_off(key);
        }
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

/// The contradictions within a configuration.
pub(super) fn inconsistencies(
    config: &ModelConfig,
    family: &Family,
    raw: &Map<String, Value>,
) -> Vec<String> {
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
        rotary_dims,
        ..
    } = config;
    let of_blocks = config.layers.iter().map(|layer| layer.num_key_value_heads);
    if let Some(heads) = std::iter::once(*num_key_value_heads)
        .chain(of_blocks)
        .find(|heads| !num_attention_heads.is_multiple_of(*heads))
    {
        problems.push(format!(
            "`num_attention_heads` `{num_attention_heads}` is not a multiple of `num_key_value_heads` `{heads}`"
        ));
    }
    if raw.get("head_dim").is_none_or(Value::is_null)
        && family.head_dim.is_none()
        && !hidden_size.is_multiple_of(*num_attention_heads)
    {
        problems.push(format!(
            "`hidden_size` `{hidden_size}` is not a multiple of `num_attention_heads` `{num_attention_heads}`"
        ));
    }
    let of_blocks = config.layers.iter().map(|layer| layer.head_dim);
    let widths: Vec<usize> = std::iter::once(*head_dim).chain(of_blocks).collect();
    if let Some(head_dim) = widths.iter().find(|width| !width.is_multiple_of(2)) {
        problems.push(format!(
            "`head_dim` is `{head_dim}`; rotary embeddings need an even number"
        ));
    } else if *rotary_dims == 0
        || !widths.iter().any(|width| rotary_dims <= width)
        || !rotary_dims.is_multiple_of(2)
    {
        problems.push(format!(
            "`partial_rotary_factor` makes `{rotary_dims}` dimensions of `head_dim` `{head_dim}` rotate; that is not an even number up \
             to it"
        ));
    }
    if let RopeScaling::LongRope {
        short_factor,
        long_factor,
        ..
    } = &config.rope_scaling
    {
        let place = rope_key(raw);
        for (key, factors) in [("short_factor", short_factor), ("long_factor", long_factor)] {
            if factors.len() != rotary_dims / 2 {
                problems.push(format!(
                    "`{place}.{key}` holds `{}` numbers; expected `{}`, half of the dimensions that rotate",
                    factors.len(),
                    rotary_dims / 2
                ));
            }
        }
    }
    problems
}

/// The number of parameters, if it exceeds 1e15: sums over parameters could overflow.
fn too_many_parameters(config: &ModelConfig) -> Option<f64> {
    let [hidden, inner, vocab, layers] = [
        config.hidden_size,
        config.intermediate_size,
        config.vocab_size,
        config.num_hidden_layers,
    ]
    .map(|size| size as f64);
    let head_dim = config.layers.iter().map(|layer| layer.head_dim).max();
    let head_dim = head_dim.unwrap_or(config.head_dim) as f64;
    let attention = (4 * config.num_attention_heads) as f64 * head_dim;
    let of_experts = config.experts.as_ref().map_or(0.0, |experts| {
        let count = (experts.sparse_blocks() * experts.num_experts) as f64;
        count * hidden * (1.0 + 3.0 * experts.moe_intermediate_size as f64)
    });
    let of_inputs = config.per_layer_inputs().map_or(0.0, |inputs| {
        let rows = inputs.vocab_size_per_layer_input as f64 + 3.0 * hidden;
        rows * layers * inputs.hidden_size_per_layer_input as f64
    });
    let inner = if config.by_block.is_some() {
        2.0 * inner
    } else {
        inner
    };
    let count = 2.0 * vocab * hidden + layers * hidden * (attention + 3.0 * inner) + of_experts + of_inputs;
    (count > 1e15).then_some(count)
}
