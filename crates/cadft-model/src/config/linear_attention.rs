//! The linear attention of some blocks: its sizes, and which blocks have it.

use super::family::Family;
use super::object::Object;
use crate::delta::DeltaHeads;
use crate::json::show;

/// The linear attention of a model, under the names of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearAttention {
    /// Number of tokens that the convolution sees.
    pub linear_conv_kernel_dim: usize,
    /// Width of a head of queries and keys.
    pub linear_key_head_dim: usize,
    /// Width of a head of values.
    pub linear_value_head_dim: usize,
    /// Number of heads of queries and keys.
    pub linear_num_key_heads: usize,
    /// Number of heads of values; a multiple of `linear_num_key_heads`.
    pub linear_num_value_heads: usize,
    /// For every block, whether its attention is linear.
    pub linear: Vec<bool>,
}

impl LinearAttention {
    /// Number and width of the heads.
    #[must_use]
    pub fn heads(&self) -> DeltaHeads {
        DeltaHeads {
            key_heads: self.linear_num_key_heads,
            value_heads: self.linear_num_value_heads,
            key_dim: self.linear_key_head_dim,
            value_dim: self.linear_value_head_dim,
        }
    }

    /// Width of all heads of keys.
    #[must_use]
    pub fn key_width(&self) -> usize {
        self.linear_num_key_heads * self.linear_key_head_dim
    }

    /// Width of all heads of values.
    #[must_use]
    pub fn value_width(&self) -> usize {
        self.linear_num_value_heads * self.linear_value_head_dim
    }

    /// Channels of the convolution: queries, keys and values.
    #[must_use]
    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// Number of blocks with linear attention.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.linear.iter().filter(|&&is_linear| is_linear).count()
    }

    /// Numbers in the state of one sequence in one block: the memory, and the last inputs of the convolution.
    #[must_use]
    pub fn state(&self) -> usize {
        self.value_width() * self.linear_key_head_dim + self.channels() * (self.linear_conv_kernel_dim - 1)
    }
}

/// Reads the linear attention of a family that may have it; `None` if no block does.
pub(super) fn parse(object: &mut Object<'_>, family: &Family, layers: usize) -> Option<LinearAttention> {
    if !family.linear_attention {
        return None;
    }
    let attention = LinearAttention {
        linear_conv_kernel_dim: object.positive("linear_conv_kernel_dim", 4),
        linear_key_head_dim: object.positive("linear_key_head_dim", 128),
        linear_value_head_dim: object.positive("linear_value_head_dim", 128),
        linear_num_key_heads: object.positive("linear_num_key_heads", 16),
        linear_num_value_heads: object.positive("linear_num_value_heads", 32),
        linear: linear_layers(object, layers),
    };
    let (values, keys) = (attention.linear_num_value_heads, attention.linear_num_key_heads);
    if !values.is_multiple_of(keys) {
        object.problem(format!(
            "`linear_num_value_heads` `{values}` is not a multiple of `linear_num_key_heads` `{keys}`"
        ));
    }
    attention.linear.contains(&true).then_some(attention)
}

/// Which blocks have linear attention: by `layer_types` if present, otherwise all but every `full_attention_interval`-th.
fn linear_layers(object: &mut Object<'_>, layers: usize) -> Vec<bool> {
    let key = "layer_types";
    let Some(types) = object.get(key) else {
        let interval = object.positive("full_attention_interval", 4);
        return (0..layers).map(|layer| (layer + 1) % interval != 0).collect();
    };
    let kinds = types.as_array().and_then(|types| {
        let kinds = types.iter().map(|kind| match kind.as_str() {
            Some("linear_attention") => Some(true),
            Some("full_attention") => Some(false),
            _ => None,
        });
        kinds.collect::<Option<Vec<_>>>()
    });
    kinds.filter(|kinds| kinds.len() == layers).unwrap_or_else(|| {
        object.problem(format!(
            "`{key}` is `{}`; expected `{layers}` entries, `linear_attention` or `full_attention`",
            show(types)
        ));
        vec![false; layers]
    })
}
