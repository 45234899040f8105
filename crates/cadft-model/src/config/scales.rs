//! Factors and limits in which the families differ.

use super::family::Family;
use super::object::Object;
use super::options::Norms;

/// The factor of embeddings.
pub(super) fn embedding_scale(object: &mut Object<'_>, family: &Family, hidden_size: usize) -> f64 {
    if family.is_gemma() {
        (hidden_size as f64).sqrt()
    } else {
        multiplier(object, family, "embedding_multiplier")
    }
}

/// The factor of the product of query and key.
pub(super) fn attention_scale(object: &mut Object<'_>, family: &Family, head_dim: usize) -> f64 {
    if family.multipliers {
        return multiplier(object, family, "attention_multiplier");
    }
    if family.norms == Norms::Gemma4 {
        return 1.0;
    }
    let size = if family.is_gemma() {
        object.optional_number("query_pre_attn_scalar").unwrap_or(256.0)
    } else {
        head_dim as f64
    };
    size.powf(-0.5)
}

/// One of Gemma's soft-caps; `None` in other families.
pub(super) fn soft_cap(object: &mut Object<'_>, family: &Family, key: &str) -> Option<f64> {
    let is_read = family.is_gemma() && !(family.norms == Norms::Gemma4 && key == "attn_logit_softcapping");
    if !is_read {
        object.expect_absent(key);
        return None;
    }
    let default = match key {
        "attn_logit_softcapping" => 50.0,
        _ => 30.0,
    };
    let has_default = family.soft_caps && !object.is_null(key);
    object.optional_number(key).or(has_default.then_some(default))
}

/// One of Granite's multipliers; 1 in other families.
pub(super) fn multiplier(object: &mut Object<'_>, family: &Family, key: &str) -> f64 {
    if family.multipliers {
        object.optional_number(key).unwrap_or(1.0)
    } else {
        1.0
    }
}
