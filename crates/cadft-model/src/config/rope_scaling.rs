//! Rotary frequencies: the base, and the scaling rules `default`, `linear`, `dynamic`, `yarn` and `llama3`.
//!
//! ```text
//! default   f(i) = θ^(−2i / dims)
//! linear    f(i) / factor
//! dynamic   as default, θ' = θ (factor · length / original − factor + 1)^(dims / (dims − 2)) beyond the original length
//! yarn      f(i) kept where it turns often, f(i) / factor where it turns rarely, a ramp over i between
//! llama3    as yarn, a ramp over the number of turns between
//! ```
//!
//! YaRN: Peng et al., arXiv 2309.00071. The rules and their defaults are those of transformers.

use std::f64::consts::TAU;

use serde_json::{Map, Value};

use super::object::Object;
use crate::json::show;
use crate::shown::cut;

/// How the rotary frequencies are changed for contexts longer than the model was pretrained on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// The frequencies as they are.
    #[default]
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// A base that grows with the longest sequence of the batch, once that is above the original context.
    ///
    /// As in transformers, a sequence then depends on the length of its companions, and one that is decoded token by
    /// token on the lengths it had on the way.
    Dynamic {
        /// How fast the base grows.
        factor: f64,
        /// The context of the pretraining.
        original_max_position_embeddings: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, those in between interpolated by their index; attention is
    /// sharpened by `attention_factor`.
    Yarn {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// Frequencies that turn more often than this in the original context are kept.
        beta_fast: f64,
        /// Frequencies that turn less often than this in the original context are divided.
        beta_slow: f64,
        /// The context of the pretraining.
        original_max_position_embeddings: f64,
        /// Whether the ends of the ramp are rounded to whole indices.
        truncate: bool,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, those in between interpolated.
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Frequencies that turn fewer times than this in the original context count as low.
        low_freq_factor: f64,
        /// Frequencies that turn more times than this in the original context count as high.
        high_freq_factor: f64,
        /// The context of the pretraining.
        original_max_position_embeddings: f64,
    },
}

impl RopeScaling {
    /// The frequencies of `pairs` pairs of dimensions in radians a position, fastest first, for sequences of at most
    /// `length` positions.
    #[must_use]
    pub fn frequencies(&self, theta: f64, pairs: usize, length: usize) -> Vec<f64> {
        let dims = 2.0 * pairs as f64;
        let theta = match *self {
            Self::Dynamic {
                factor,
                original_max_position_embeddings: original,
            } if length as f64 > original => {
                let growth = factor * length as f64 / original - (factor - 1.0);
                theta * growth.powf(dims / (dims - 2.0))
            }
            _ => theta,
        };
        (0..pairs)
            .map(|pair| {
                let frequency = theta.powf(-2.0 * pair as f64 / dims);
                let kept = self.kept(frequency, pair as f64, theta, dims);
                frequency * (kept + (1.0 - kept) / self.divisor())
            })
            .collect()
    }

    /// What cosines and sines are multiplied by.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        match *self {
            Self::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    fn divisor(&self) -> f64 {
        match *self {
            Self::Default | Self::Dynamic { .. } => 1.0,
            Self::Linear { factor } | Self::Yarn { factor, .. } | Self::Llama3 { factor, .. } => factor,
        }
    }

    /// The share of a frequency that is not divided.
    fn kept(&self, frequency: f64, pair: f64, theta: f64, dims: f64) -> f64 {
        match *self {
            Self::Default | Self::Dynamic { .. } | Self::Linear { .. } => 0.0,
            Self::Yarn {
                beta_fast,
                beta_slow,
                original_max_position_embeddings: original,
                truncate,
                ..
            } => {
                let index = |turns: f64| dims * (original / (turns * TAU)).ln() / (2.0 * theta.ln());
                let (mut low, mut high) = (index(beta_fast), index(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dims - 1.0));
                if low == high {
                    high += 0.001;
                }
                1.0 - ((pair - low) / (high - low)).clamp(0.0, 1.0)
            }
            Self::Llama3 {
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: original,
                ..
            } => {
                let turns = original * frequency / TAU;
                ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0)
            }
        }
    }
}

/// Base and scaling of one set of rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RopeParameters {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
}

/// The keys that a rotary object may hold: all that one of the rules reads, and two that none does.
const KNOWN_KEYS: [&str; 14] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "partial_rotary_factor",
];

/// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` object that newer files hold instead.
pub(super) fn parse(object: &mut Object<'_>, default_theta: f64, max_positions: usize) -> RopeParameters {
    let theta = object.number("rope_theta", default_theta);
    let key = rope_key(object);
    let defaults = Defaults::read(object, theta, max_positions);
    let parameters = match object.nested(key) {
        Some(mut nested) => {
            let parameters = parse_parameters(&mut nested, key, defaults);
            object.absorb(nested);
            parameters
        }
        None => RopeParameters {
            theta,
            scaling: RopeScaling::Default,
        },
    };
    check_theta(object, "rope_theta", parameters.theta);
    parameters
}

/// Reads the two sets of Gemma 3, merged as transformers merges them: `full_attention` and `sliding_attention` of
/// `rope_parameters`, what `rope_scaling` says over the first, and `rope_theta` and `rope_local_base_freq` where they
/// name no base.
pub(super) fn parse_by_layer_type(
    object: &mut Object<'_>,
    [full, local]: [f64; 2],
    max_positions: usize,
) -> [RopeParameters; 2] {
    let scaling = values_of(object, "rope_scaling");
    let both = values_of(object, "rope_parameters").unwrap_or_default();
    let kinds = ["full_attention", "sliding_attention"];
    for (key, value) in &both {
        if !kinds.contains(&key.as_str()) {
            let (key, value) = (cut(key), show(value));
            object.problem(format!(
                "`rope_parameters.{key}` is `{value}`; a `gemma3_text` has it in `full_attention` and \
                 `sliding_attention`"
            ));
        }
    }
    let theta = object.number("rope_theta", full);
    let local_theta = object.number("rope_local_base_freq", local);
    let scaling = scaling.filter(|scaling| !scaling.is_empty());
    if scaling.is_some() && !both.is_empty() && both.get(kinds[0]).is_none_or(Value::is_null) {
        object.problem("`rope_parameters.full_attention` is missing beside `rope_scaling`".to_owned());
    }
    [(kinds[0], theta, scaling), (kinds[1], local_theta, None)].map(|(key, theta, over)| {
        let mut values = match both.get(key) {
            // As transformers does, so that a `type` in `rope_scaling` alone is seen to disagree.
            None | Some(Value::Null) => Map::from_iter([("rope_type".to_owned(), "default".into())]),
            Some(Value::Object(values)) => values.clone(),
            Some(other) => {
                let other = show(other);
                object.problem(format!(
                    "`rope_parameters.{key}` is `{other}`; expected an object"
                ));
                Map::new()
            }
        };
        let place = match over {
            Some(over) => {
                values.extend(over);
                "rope_scaling".to_owned()
            }
            None => format!("rope_parameters.{key}"),
        };
        let mut nested = Object::nested_in(&values, &place);
        let defaults = Defaults {
            theta,
            original: None,
            max_positions,
        };
        let parameters = parse_parameters(&mut nested, &place, defaults);
        check_theta(&mut nested, "rope_theta", parameters.theta);
        object.absorb(nested);
        parameters
    })
}

/// A copy of the object under a key, `None` if it is absent, or is no object, which is a problem.
fn values_of(object: &mut Object<'_>, key: &str) -> Option<Map<String, Value>> {
    object.nested(key).map(|nested| nested.values().clone())
}

/// The key that holds the scaling: `rope_scaling` where it says something, as in transformers.
fn rope_key(object: &Object<'_>) -> &'static str {
    match object.get("rope_scaling") {
        Some(value) if value.as_object().is_none_or(|values| !values.is_empty()) => "rope_scaling",
        _ => "rope_parameters",
    }
}

fn check_theta(object: &mut Object<'_>, key: &str, theta: f64) {
    if theta < 1.0 {
        object.problem(format!(
            "`{key}` is `{theta}`; expected a number that is not below 1"
        ));
    }
}

/// What a rotary object takes where it does not say.
#[derive(Clone, Copy)]
struct Defaults {
    theta: f64,
    /// `original_max_position_embeddings` beside the rotary object, which transformers prefers to the one in it.
    original: Option<f64>,
    max_positions: usize,
}

impl Defaults {
    fn read(object: &mut Object<'_>, theta: f64, max_positions: usize) -> Self {
        let key = "original_max_position_embeddings";
        let original = object.get(key).is_some().then(|| object.required_number(key));
        Self {
            theta,
            original,
            max_positions,
        }
    }

    fn original(&self, object: &mut Object<'_>) -> f64 {
        let key = "original_max_position_embeddings";
        match self.original {
            Some(original) => original,
            None if object.get(key).is_some() => object.required_number(key),
            None => self.max_positions as f64,
        }
    }
}

fn parse_parameters(object: &mut Object<'_>, place: &str, defaults: Defaults) -> RopeParameters {
    let theta = object.number("rope_theta", defaults.theta);
    object.expect_number("partial_rotary_factor", 1.0);
    object.expect_keys(&KNOWN_KEYS, &["finetuned"]);
    let (kind, legacy) = (object.text("rope_type"), object.text("type"));
    if let (Some(kind), Some(legacy)) = (kind, legacy)
        && kind != legacy
    {
        object.problem(format!(
            "`{place}.type` is `{}`, and `rope_type` is `{}`; transformers takes the second",
            cut(legacy),
            cut(kind)
        ));
    }
    let kind = kind.or(legacy);
    let scaling = match kind {
        Some("default") => RopeScaling::Default,
        None => {
            if object.get("factor").is_some() {
                object.problem(format!("`{place}.rope_type` is missing"));
            }
            RopeScaling::Default
        }
        Some("linear") => RopeScaling::Linear {
            factor: object.required_number("factor"),
        },
        Some("dynamic") => RopeScaling::Dynamic {
            factor: object.required_number("factor"),
            original_max_position_embeddings: defaults.max_positions as f64,
        },
        Some("yarn") => yarn(object, place, defaults),
        Some("llama3") => llama3(object, place, defaults),
        Some(other) => {
            object.problem(format!(
                "`{place}.rope_type` is `{}`; supported: `default`, `linear`, `dynamic`, `yarn`, `llama3`",
                cut(other)
            ));
            RopeScaling::Default
        }
    };
    RopeParameters { theta, scaling }
}

fn yarn(object: &mut Object<'_>, place: &str, defaults: Defaults) -> RopeScaling {
    let factor = object.required_number("factor");
    let magnitude = |scale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * scale * factor.ln() + 1.0
        }
    };
    let (mscale, all_dim) = (object.number("mscale", 0.0), object.number("mscale_all_dim", 0.0));
    let inferred = if mscale != 0.0 && all_dim != 0.0 {
        magnitude(mscale) / magnitude(all_dim)
    } else {
        magnitude(1.0)
    };
    let (beta_fast, beta_slow) = (object.number("beta_fast", 32.0), object.number("beta_slow", 1.0));
    if beta_fast < beta_slow || beta_slow <= 0.0 {
        object.problem(format!(
            "`{place}.beta_fast` `{beta_fast}` is below `beta_slow` `{beta_slow}`, or that is not above zero"
        ));
    }
    RopeScaling::Yarn {
        factor,
        attention_factor: object.number("attention_factor", inferred),
        beta_fast,
        beta_slow,
        original_max_position_embeddings: defaults.original(object),
        truncate: object.get("truncate").is_none() || object.flag("truncate"),
    }
}

fn llama3(object: &mut Object<'_>, place: &str, defaults: Defaults) -> RopeScaling {
    let (low, high) = (
        object.required_number("low_freq_factor"),
        object.required_number("high_freq_factor"),
    );
    if high <= low {
        object.problem(format!(
            "`{place}.high_freq_factor` `{high}` is not above `low_freq_factor` `{low}`"
        ));
    }
    RopeScaling::Llama3 {
        factor: object.required_number("factor"),
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: defaults.original(object),
    }
}
