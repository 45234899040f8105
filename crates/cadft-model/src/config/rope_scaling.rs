//! Rotary frequencies: the base, and the scaling rules `default`, `linear` and `llama3`.

use std::f64::consts::TAU;

use super::object::Object;

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
    /// The scaled form of one frequency, in radians a position.
    #[must_use]
    pub fn scale(&self, frequency: f64) -> f64 {
        match *self {
            Self::Default => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let turns = original_max_position_embeddings * frequency / TAU;
                let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let kept = smooth.clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
        }
    }
}

/// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` object that newer files hold instead.
pub(super) fn parse(object: &mut Object<'_>) -> (f64, RopeScaling) {
    let mut theta = object.number("rope_theta", 10_000.0);
    let mut scaling = RopeScaling::Default;
    for key in ["rope_scaling", "rope_parameters"] {
        if let Some(mut nested) = object.nested(key) {
            theta = nested.number("rope_theta", theta);
            nested.expect_number("partial_rotary_factor", 1.0);
            scaling = parse_scaling(&mut nested, key);
            object.absorb(nested);
        }
    }
    if theta <= 0.0 {
        object.problem(format!("`rope_theta` is `{theta}`; expected a number above zero"));
    }
    (theta, scaling)
}

fn parse_scaling(object: &mut Object<'_>, key: &str) -> RopeScaling {
    let kind = object.text("rope_type").or_else(|| object.text("type"));
    match kind {
        Some("default") => RopeScaling::Default,
        None => {
            if object.get("factor").is_some() {
                object.problem(format!("`{key}.rope_type` is missing"));
            }
            RopeScaling::Default
        }
        Some("linear") => RopeScaling::Linear {
            factor: object.required_number("factor"),
        },
        Some("llama3") => {
            let (low, high) = (
                object.required_number("low_freq_factor"),
                object.required_number("high_freq_factor"),
            );
            if high <= low {
                object.problem(format!(
                    "`{key}.high_freq_factor` `{high}` is not above `low_freq_factor` `{low}`"
                ));
            }
            RopeScaling::Llama3 {
                factor: object.required_number("factor"),
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: object.required_number("original_max_position_embeddings"),
            }
        }
        Some(other) => {
            let problem = format!("`{key}.rope_type` is `{other}`; supported: `default`, `linear`, `llama3`");
            object.problem(problem);
            RopeScaling::Default
        }
    }
}
