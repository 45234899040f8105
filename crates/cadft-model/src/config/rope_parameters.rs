//! The rotary keys of `config.json`: `rope_theta` and `rope_scaling`, or `rope_parameters`.

use serde_json::{Map, Value, json};

use super::family::{Family, Rotary};
use super::object::Object;
use super::options::Temperature;
use super::rope_scaling::RopeScaling;
use crate::json::show;
use crate::shown::cut;

/// Base and scaling of one set of rotary frequencies.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RopeParameters {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
    /// The fraction of a head that is rotated.
    pub(super) partial_rotary_factor: f64,
    pub(super) temperature: Option<Temperature>,
}

/// The keys of a rotary object that any of the rules reads.
const KNOWN_KEYS: [&str; 16] = [
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
    "short_factor",
    "long_factor",
    "partial_rotary_factor",
];

/// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` object of newer files.
pub(super) fn parse(object: &mut Object<'_>, family: &Family, max_positions: usize) -> RopeParameters {
    let theta = object.number("rope_theta", family.rope_theta);
    let key = rope_key(object.values());
    let defaults = Defaults::read(object, family, theta, max_positions);
    let parameters = match object.nested(key) {
        Some(mut nested) => {
            let parameters = parse_parameters(&mut nested, key, defaults);
            object.absorb(nested);
            parameters
        }
        None if family.rotary == Rotary::Ministral => ministral(max_positions),
        None => RopeParameters {
            theta,
            scaling: RopeScaling::Default,
            partial_rotary_factor: defaults.partial_rotary_factor,
            temperature: None,
        },
    };
    check_theta(object, "rope_theta", parameters.theta);
    parameters
}

/// The default rotary parameters of Ministral 3.
fn ministral(max_positions: usize) -> RopeParameters {
    let default = json!({"rope_parameters": {
        "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1}});
    let Value::Object(values) = default else {
        unreachable!("an object was written")
    };
    parse(&mut Object::new(&values), Family::ministral(), max_positions)
}

/// Reads two sets, merged as in transformers: `full_attention` and `sliding_attention` of `rope_parameters`;
/// `rope_scaling` overrides the first; `rope_theta` and the base of sliding layers are the defaults of the bases.
pub(super) fn parse_by_layer_type(
    object: &mut Object<'_>,
    family: &Family,
    local_theta: f64,
    max_positions: usize,
) -> [RopeParameters; 2] {
    let scaling = values_of(object, "rope_scaling");
    let both = match values_of(object, "rope_parameters") {
        None if family.rotary == Rotary::Gemma4 => gemma4(),
        both => both.unwrap_or_default(),
    };
    let kinds = ["full_attention", "sliding_attention"];
    for (key, value) in &both {
        if !kinds.contains(&key.as_str()) {
            let (key, value) = (cut(key), show(value));
            object.problem(format!(
                "`rope_parameters.{key}` is `{value}`; a `{}` has it in `full_attention` and `sliding_attention`",
                family.model_type
            ));
        }
    }
    let theta = object.number("rope_theta", family.rope_theta);
    let scaling = scaling.filter(|scaling| !scaling.is_empty());
    if scaling.is_some() && !both.is_empty() && both.get(kinds[0]).is_none_or(Value::is_null) {
        object.problem("`rope_parameters.full_attention` is missing beside `rope_scaling`".to_owned());
    }
    if family.rotary == Rotary::Gemma4 {
        object.expect_absent("rope_scaling");
        object.expect_absent("rope_theta");
        for kind in kinds {
            if both.get(kind).is_none_or(|own| own.get("rope_theta").is_none()) {
                object.problem(format!("`rope_parameters.{kind}.rope_theta` is missing"));
            }
        }
    }
    [(kinds[0], theta, scaling), (kinds[1], local_theta, None)].map(|(key, theta, over)| {
        let mut values = match both.get(key) {
            // As in transformers: a lone `type` in `rope_scaling` is then found to contradict this.
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
        if nested.get("truncate").is_some() {
            nested.expect_absent("truncate"); // transformers would ignore it here
        }
        let defaults = Defaults {
            rotary: family.rotary,
            theta,
            original: None,
            max_positions,
            partial_rotary_factor: 1.0,
        };
        let parameters = parse_parameters(&mut nested, &place, defaults);
        check_theta(&mut nested, "rope_theta", parameters.theta);
        object.absorb(nested);
        parameters
    })
}

/// The default rotary parameters of Gemma 4.
fn gemma4() -> Map<String, Value> {
    let full = json!({"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6});
    let sliding = json!({"rope_type": "default", "rope_theta": 1e4});
    let both = [("full_attention", full), ("sliding_attention", sliding)];
    both.map(|(kind, own)| (kind.to_owned(), own))
        .into_iter()
        .collect()
}

/// A copy of the object under a key; `None` if it is absent. A value that is not an object is recorded as a problem.
fn values_of(object: &mut Object<'_>, key: &str) -> Option<Map<String, Value>> {
    object.nested(key).map(|nested| nested.values().clone())
}

/// The key of the scaling: `rope_scaling` if it has content, as in transformers; otherwise `rope_parameters`.
pub(super) fn rope_key(values: &Map<String, Value>) -> &'static str {
    match values.get("rope_scaling").filter(|value| !value.is_null()) {
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

/// Values for keys that are absent from a rotary object.
#[derive(Clone, Copy)]
struct Defaults {
    rotary: Rotary,
    theta: f64,
    /// `original_max_position_embeddings` beside the rotary object. transformers prefers it to the one inside.
    original: Option<f64>,
    max_positions: usize,
    partial_rotary_factor: f64,
}

impl Defaults {
    fn read(object: &mut Object<'_>, family: &Family, theta: f64, max_positions: usize) -> Self {
        let (key, partial) = ("original_max_position_embeddings", "partial_rotary_factor");
        let original = match object.get(key) {
            Some(_) => Some(object.required_number(key)),
            None => (family.rotary == Rotary::Phi).then_some(4096.0),
        };
        let partial_rotary_factor = match family.rotary {
            Rotary::Phi => object.number(partial, 1.0),
            Rotary::Glm | Rotary::Qwen35 if object.is_null(partial) => 1.0,
            Rotary::Glm => object.number(partial, 0.5),
            Rotary::Qwen35 => object.number(partial, 0.25),
            _ => 1.0,
        };
        Self {
            rotary: family.rotary,
            theta,
            original,
            max_positions,
            partial_rotary_factor,
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
    let partial_rotary_factor = match defaults.rotary {
        Rotary::Phi | Rotary::Glm | Rotary::Qwen35 => {
            object.number("partial_rotary_factor", defaults.partial_rotary_factor)
        }
        // The scaling has it: the other dimensions turn, too, by 0.
        Rotary::Gemma4 if object.text("rope_type") == Some("proportional") => 1.0,
        _ => {
            object.expect_number("partial_rotary_factor", 1.0);
            1.0
        }
    };
    let temperature = (defaults.rotary == Rotary::Ministral).then(|| temperature(object, defaults));
    let without_effect: &[&str] = match defaults.rotary {
        Rotary::Ministral => &["finetuned", "llama_4_scaling_beta", "max_position_embeddings"],
        Rotary::Qwen35 => &["finetuned", "mrope_section", "mrope_interleaved"],
        _ => &["finetuned"],
    };
    object.expect_keys(&KNOWN_KEYS, without_effect);
    RopeParameters {
        theta,
        scaling: scaling(object, place, defaults),
        partial_rotary_factor,
        temperature,
    }
}

fn temperature(object: &mut Object<'_>, defaults: Defaults) -> Temperature {
    let (beta, original) = ("llama_4_scaling_beta", "original_max_position_embeddings");
    // transformers fills in the second key only for scalings that need it.
    let fills_in = ["yarn", "llama3", "longrope"];
    let kind = object.text("rope_type").or(object.text("type"));
    for key in [beta, original] {
        let is_filled_in = key == original && kind.is_some_and(|kind| fills_in.contains(&kind));
        if object.get(key).is_none() && !is_filled_in {
            object.required_number(key);
        }
    }
    Temperature {
        beta: object.number(beta, 0.0),
        original_max_position_embeddings: defaults.original(object),
    }
}

fn scaling(object: &mut Object<'_>, place: &str, defaults: Defaults) -> RopeScaling {
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
    let is_phi = defaults.rotary == Rotary::Phi;
    match kind.or(legacy) {
        Some("default") => RopeScaling::Default,
        Some("proportional") if defaults.rotary == Rotary::Gemma4 => RopeScaling::Proportional {
            factor: object.number("factor", 1.0),
            partial_rotary_factor: object.number("partial_rotary_factor", 1.0),
        },
        Some(other) if defaults.rotary == Rotary::Gemma4 => {
            let other = cut(other);
            object.problem(format!(
                "`{place}.rope_type` is `{other}`; supported: `default`, `proportional`"
            ));
            RopeScaling::Default
        }
        None => {
            if object.get("factor").is_some() {
                object.problem(format!("`{place}.rope_type` is missing"));
            }
            RopeScaling::Default
        }
        Some("longrope") => longrope(object, defaults),
        // The older names of `longrope`.
        Some("su" | "yarn") if is_phi => longrope(object, defaults),
        Some("linear") if !is_phi => RopeScaling::Linear {
            factor: object.required_number("factor"),
        },
        Some("dynamic") if !is_phi => RopeScaling::Dynamic {
            factor: object.required_number("factor"),
            original_max_position_embeddings: defaults.max_positions as f64,
        },
        Some("yarn") => yarn(object, place, defaults),
        Some("llama3") if !is_phi => llama3(object, place, defaults),
        Some(other) => {
            let supported = if is_phi {
                "`default`, `longrope`"
            } else {
                "`default`, `linear`, `dynamic`, `yarn`, `longrope`, `llama3`"
            };
            object.problem(format!(
                "`{place}.rope_type` is `{}`; supported: {supported}",
                cut(other)
            ));
            RopeScaling::Default
        }
    }
}

fn longrope(object: &mut Object<'_>, defaults: Defaults) -> RopeScaling {
    let original = defaults.original(object);
    let factor = object
        .optional_number("factor")
        .unwrap_or(defaults.max_positions as f64 / original);
    let inferred = if factor <= 1.0 {
        1.0
    } else {
        (1.0 + factor.ln() / original.ln()).sqrt()
    };
    RopeScaling::LongRope {
        short_factor: object.required_numbers("short_factor"),
        long_factor: object.required_numbers("long_factor"),
        attention_factor: object.number("attention_factor", inferred),
        original_max_position_embeddings: original,
    }
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
