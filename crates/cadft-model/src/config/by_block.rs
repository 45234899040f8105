//! What Gemma 4 adds to its blocks: inputs of their own, heads that differ by the kind of attention, and keys and values that later
//! blocks share.

use serde_json::Value;

use super::family::Family;
use super::layers::{KeySource, LayerAttention};
use super::object::Object;
use crate::json::show;

/// A second embedding, of which every block gets its own part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerLayerInputs {
    /// Rows of the embedding.
    pub vocab_size_per_layer_input: usize,
    /// Width of the part of one block.
    pub hidden_size_per_layer_input: usize,
}

/// What Gemma 4 adds to its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByBlock {
    /// The inputs of the blocks; `None` if they have none.
    pub inputs: Option<PerLayerInputs>,
    /// Whether blocks with shared keys have feed-forward blocks of twice the width.
    pub use_double_wide_mlp: bool,
}

/// Reads what Gemma 4 adds, and changes the attention of its blocks; `None` in other families.
pub(super) fn parse(
    object: &mut Object<'_>,
    family: &Family,
    layers: &mut [LayerAttention],
) -> Option<ByBlock> {
    if !family.by_block {
        return None;
    }
    if object.flag("enable_moe_block") {
        object
            .problem("`enable_moe_block` is `true`; experts are not supported in a `gemma4_text`".to_owned());
    }
    if layers.last().is_some_and(|layer| layer.window.is_some()) {
        object.problem(
            "the last of `layer_types` is `sliding_attention`; transformers would change it".to_owned(),
        );
    }
    let one_projection = object.flag("attention_k_eq_v");
    heads(object, layers, one_projection);
    for layer in layers.iter_mut().filter(|layer| layer.window.is_none()) {
        if one_projection {
            layer.keys = KeySource::OneProjection;
        }
    }
    let shared = object.whole("num_kv_shared_layers", 0);
    share(object, layers, shared);
    let width = object.whole("hidden_size_per_layer_input", 256);
    if width == 0 && shared > 0 {
        object.problem(
            "`num_kv_shared_layers` is above `0` and `hidden_size_per_layer_input` is `0`; transformers does not compute such a model"
                .to_owned(),
        );
    }
    let key = "vocab_size_per_layer_input";
    let vocab_size = object.get("vocab_size").and_then(Value::as_u64).unwrap_or(0);
    let rows = object.positive(key, 262_144);
    if width > 0 && (rows as u64) < vocab_size {
        object.problem(format!(
            "`{key}` is `{rows}`, below `vocab_size` `{vocab_size}`; every token needs a row"
        ));
    }
    let inputs = PerLayerInputs {
        vocab_size_per_layer_input: rows,
        hidden_size_per_layer_input: width,
    };
    Some(ByBlock {
        inputs: (width > 0).then_some(inputs),
        use_double_wide_mlp: object.flag("use_double_wide_mlp"),
    })
}

/// The heads of the blocks: by `per_layer_config` if it is present, otherwise full attention has `global_head_dim` and
/// `num_global_key_value_heads`, the latter only where one projection gives keys and values.
fn heads(object: &mut Object<'_>, layers: &mut [LayerAttention], one_projection: bool) {
    let key = "per_layer_config";
    let Some(mut by_block) = object.nested(key) else {
        let head_dim = object.positive("global_head_dim", 512);
        let own = if one_projection && object.get("num_global_key_value_heads").is_some() {
            Some(object.required("num_global_key_value_heads"))
        } else {
            None
        };
        for layer in layers.iter_mut().filter(|layer| layer.window.is_none()) {
            layer.head_dim = head_dim;
            layer.num_key_value_heads = own.unwrap_or(layer.num_key_value_heads);
        }
        return;
    };
    for (index, value) in by_block.values() {
        let Some(layer) = index
            .parse::<usize>()
            .ok()
            .and_then(|index| layers.get_mut(index))
        else {
            by_block.problem(format!("`{key}.{}` is not a block", crate::shown::cut(index)));
            continue;
        };
        let Some(mut own) = by_block.nested(index) else {
            by_block.problem(format!(
                "`{key}.{index}` is `{}`; expected an object",
                show(value)
            ));
            continue;
        };
        own.expect_keys(&["head_dim", "num_key_value_heads"], &[]);
        layer.head_dim = own.positive("head_dim", layer.head_dim);
        layer.num_key_value_heads = own.positive("num_key_value_heads", layer.num_key_value_heads);
        by_block.absorb(own);
    }
    object.absorb(by_block);
    for is_sliding in [false, true] {
        let mut of_kind = layers.iter().filter(|layer| layer.window.is_some() == is_sliding);
        if let Some(first) = of_kind.next()
            && of_kind.any(|layer| layer.head_dim != first.head_dim)
        {
            object.problem(format!(
                "`{key}` gives blocks with the same kind of attention different values of `head_dim`"
            ));
        }
    }
}

/// The last `shared` blocks have the keys and values of the last block before them with the same kind of attention.
fn share(object: &mut Object<'_>, layers: &mut [LayerAttention], shared: usize) {
    let key = "num_kv_shared_layers";
    let Some(first) = layers.len().checked_sub(shared) else {
        object.problem(format!(
            "`{key}` is `{shared}`; there are `{}` blocks",
            layers.len()
        ));
        return;
    };
    let (own, sharing) = layers.split_at_mut(first);
    for layer in sharing {
        let source = own.iter().rposition(|own| own.window == layer.window);
        match source {
            Some(source) => layer.keys = KeySource::Block(source),
            None => {
                object.problem(format!(
                    "`{key}` is `{shared}`; no block before them has the kind of attention of every one of them"
                ));
                return;
            }
        }
        if let Some(source) = source.and_then(|source| own.get(source)) {
            layer.num_key_value_heads = source.num_key_value_heads;
        }
    }
}

/// Whether the value is that of a switch which only concerns images.
pub(super) fn concerns_images(key: &str, value: &Value) -> bool {
    key == "use_bidirectional_attention" && value == "vision"
}
