//! The attention of each block: its window, and its rotary embedding.

use super::family::{Family, Rotary, Windows};
use super::object::Object;
use crate::json::show;

/// The window, the positions and the heads of one block's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerAttention {
    /// Number of latest positions that a query attends to, including its own; `None` means all positions up to its own.
    pub window: Option<usize>,
    /// How positions are encoded.
    pub positions: Positions,
    /// Width of one head.
    pub head_dim: usize,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Where keys and values come from.
    pub keys: KeySource,
}

impl LayerAttention {
    /// Width of all key heads of a position; the value heads have the same width.
    #[must_use]
    pub fn key_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// The block whose keys and values this one has, if it has none of its own.
    #[must_use]
    pub fn key_source(&self) -> Option<usize> {
        match self.keys {
            KeySource::Block(source) => Some(source),
            KeySource::Own | KeySource::OneProjection => None,
        }
    }
}

/// Where the keys and values of a block's attention come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// From a projection each.
    Own,
    /// From one projection (Gemma 4).
    OneProjection,
    /// From the block with this index, before this one (Gemma 4).
    Block(usize),
}

/// How positions are encoded in the attention of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Rotary embedding.
    Rotary,
    /// Rotary embedding with the base of sliding layers (Gemma 3, `OLMo` 3).
    LocalRotary,
    /// No position encoding (`NoPE`).
    None,
}

/// More blocks than any model has. Data is allocated for each block before the weights are read.
const MAX_LAYERS: usize = 100_000;

/// The number of blocks; 1 if the value is unusable, which is recorded as a problem.
pub(super) fn count(object: &mut Object<'_>) -> usize {
    let key = "num_hidden_layers";
    let layers = object.required(key);
    if layers <= MAX_LAYERS {
        return layers;
    }
    object.problem(format!(
        "`{key}` is `{layers}`; at most `{MAX_LAYERS}` are supported"
    ));
    1
}

/// Reads the window and the positions of all blocks. They have `heads` alike: their width, and the number of key and value heads.
pub(super) fn parse(
    object: &mut Object<'_>,
    family: &Family,
    layers: usize,
    [head_dim, num_key_value_heads]: [usize; 2],
) -> Vec<LayerAttention> {
    let rotary = rotary_layers(object, family, layers);
    let window = window(object, family);
    let sliding = sliding_layers(object, family, window.is_some(), &rotary);
    if window.is_none() && sliding.contains(&true) {
        object
            .problem("`layer_types` holds `sliding_attention`, but there is no `sliding_window`, or `use_sliding_window` is off".to_owned());
    }
    sliding
        .into_iter()
        .zip(rotary)
        .map(|(sliding, rotary)| LayerAttention {
            window: window.filter(|_| sliding),
            positions: match (rotary, sliding && family.has_local_rotary()) {
                (false, _) => Positions::None,
                (true, true) => Positions::LocalRotary,
                (true, false) => Positions::Rotary,
            },
            head_dim,
            num_key_value_heads,
            keys: KeySource::Own,
        })
        .collect()
}

/// The window size, if the family and its switch allow a window.
fn window(object: &mut Object<'_>, family: &Family) -> Option<usize> {
    let key = "sliding_window";
    let (switched_on, default) = match family.windows {
        Windows::Never => {
            object.expect_absent(key);
            return None;
        }
        Windows::AllButEvery(_) if family.rotary == Rotary::Gemma4 => (true, Some(512)),
        Windows::All | Windows::Pattern | Windows::AllButEvery(_) => (true, Some(4096)),
        Windows::AllWhereGiven => (true, None),
        Windows::AfterMaxWindowLayers | Windows::AllWhereSwitchedOn => {
            (object.flag("use_sliding_window"), Some(4096))
        }
        Windows::WithoutPositions => (object.flag("use_sliding_window"), None),
    };
    let window = if object.is_null(key) {
        None
    } else if object.get(key).is_some() {
        Some(object.required(key))
    } else {
        default
    };
    window.filter(|_| switched_on)
}

/// Which blocks have the window: by `layer_types` if present, otherwise by the family's rule.
fn sliding_layers(object: &mut Object<'_>, family: &Family, has_window: bool, rotary: &[bool]) -> Vec<bool> {
    let layers = rotary.len();
    let pattern = object.positive("sliding_window_pattern", 6);
    let first = object.whole("max_window_layers", 28);
    let rule: Vec<_> = (0..layers)
        .map(|layer| match family.windows {
            Windows::Never => false,
            Windows::All | Windows::AllWhereGiven | Windows::AllWhereSwitchedOn => has_window,
            Windows::AfterMaxWindowLayers => has_window && layer >= first,
            Windows::WithoutPositions => has_window && !rotary[layer],
            Windows::Pattern => (layer + 1) % pattern != 0,
            Windows::AllButEvery(pattern) => (layer + 1) % pattern != 0,
        })
        .collect();
    if family.linear_attention {
        return rule; // `linear_attention.rs` reads the types
    }
    let Some(types) = object.get("layer_types") else {
        if family.is_hybrid() {
            object.problem(
                "`layer_types` is missing; layers that are not attention are not supported".to_owned(),
            );
        }
        return rule;
    };
    let sliding = types.as_array().map(|types| {
        types
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Some(false),
                Some("attention") if family.is_hybrid() => Some(false),
                Some("sliding_attention") => Some(true),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
    });
    let fixed = matches!(
        family.windows,
        Windows::Never | Windows::All | Windows::AllWhereGiven | Windows::AllWhereSwitchedOn
    );
    match sliding.flatten() {
        Some(sliding) if sliding.len() == layers && (!fixed || sliding == rule) => sliding,
        _ => {
            let allowed = if fixed {
                format!("all of one kind in a `{}`", family.model_type)
            } else {
                "`full_attention` or `sliding_attention`".to_owned()
            };
            let types = show(types);
            object.problem(format!(
                "`layer_types` is `{types}`; expected `{layers}` entries, {allowed}"
            ));
            rule
        }
    }
}

/// Which blocks have rotary embeddings.
fn rotary_layers(object: &mut Object<'_>, family: &Family, layers: usize) -> Vec<bool> {
    if family.is_hybrid() {
        let key = "position_embedding_type";
        let has_rope = object.get(key).is_some();
        if has_rope {
            object.expect_text(key, &["rope"], None);
        }
        return vec![has_rope; layers];
    }
    if family.windows != Windows::WithoutPositions {
        return vec![true; layers];
    }
    let interval = object.positive("no_rope_layer_interval", 4);
    let rule = (0..layers).map(|layer| (layer + 1) % interval != 0).collect();
    let key = "no_rope_layers";
    let Some(value) = object.get(key) else { return rule };
    let flags = value
        .as_array()
        .and_then(|flags| {
            flags
                .iter()
                .map(|flag| Some(flag.as_u64()? != 0))
                .collect::<Option<Vec<_>>>()
        })
        .filter(|flags| flags.len() >= layers);
    match flags {
        Some(flags) => flags[..layers].to_vec(),
        None => {
            let value = show(value);
            object.problem(format!(
                "`{key}` is `{value}`; expected `{layers}` numbers, 0 for a block without rotary embedding"
            ));
            rule
        }
    }
}
