//! Rotary frequencies: the base, and the scaling rules `default`, `linear`, `dynamic`, `yarn`, `longrope`, `llama3` and
//! `proportional`.
//!
//! ```text
//! default   f(i) = θ^(−2i / dims)
//! linear    f(i) / factor
//! dynamic   as default, θ' = θ (factor · length / original − factor + 1)^(dims / (dims − 2)) beyond the original length
//! yarn      f(i) kept where it turns often, f(i) / factor where it turns rarely, a ramp over i between
//! longrope  f(i) / short(i), f(i) / long(i) beyond the original length
//! llama3    as yarn, a ramp over the number of turns between
//! proportional   f(i) / factor for the first pairs, 0 for the others
//! ```
//!
//! YaRN: Peng et al., arXiv 2309.00071. `LongRoPE`: Ding et al., arXiv 2402.13753. The rules and their defaults are
//! those of transformers.

use std::f64::consts::TAU;

/// How the rotary frequencies are changed for contexts longer than that of the pretraining.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// The frequencies are not changed.
    #[default]
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// A base that grows with the longest sequence of the batch, once that exceeds the original context.
    ///
    /// As in transformers, a sequence then depends on the lengths of the others in its batch. A sequence that is
    /// decoded token by token depends on its length at each step.
    Dynamic {
        /// Strength of the growth.
        factor: f64,
        /// The context length of the pretraining.
        original_max_position_embeddings: f64,
    },
    /// Low frequencies are divided by `factor`, high ones kept, those between interpolated by their index.
    /// `attention_factor` sharpens attention.
    Yarn {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// Frequencies with more turns than this in the original context are kept.
        beta_fast: f64,
        /// Frequencies with fewer turns than this in the original context are divided.
        beta_slow: f64,
        /// The context length of the pretraining.
        original_max_position_embeddings: f64,
        /// Whether the ends of the ramp are rounded to whole indices.
        truncate: bool,
    },
    /// Every frequency has a separate divisor. As with [`RopeScaling::Dynamic`], a second set of divisors applies once
    /// the longest sequence of the batch exceeds the original context.
    LongRope {
        /// Divisors within the original context, one for each frequency.
        short_factor: Vec<f64>,
        /// Divisors beyond the original context, one for each frequency.
        long_factor: Vec<f64>,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// The context length of the pretraining.
        original_max_position_embeddings: f64,
    },
    /// Llama 3.1: low frequencies are divided by `factor`, high ones kept, those between interpolated by their number
    /// of turns.
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Frequencies with fewer turns than this in the original context are low.
        low_freq_factor: f64,
        /// Frequencies with more turns than this in the original context are high.
        high_freq_factor: f64,
        /// The context length of the pretraining.
        original_max_position_embeddings: f64,
    },
    /// Gemma 4: the pairs of the first dimensions of a head turn, the others do not.
    Proportional {
        /// The divisor of the frequencies.
        factor: f64,
        /// The fraction of the pairs that turn.
        partial_rotary_factor: f64,
    },
}

impl RopeScaling {
    /// The frequencies of `pairs` pairs of dimensions in radians per position, highest first, for sequences of at most
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
                if let Self::Proportional {
                    factor,
                    partial_rotary_factor,
                } = *self
                {
                    let turning = (partial_rotary_factor * dims / 2.0).floor();
                    return if (pair as f64) < turning {
                        frequency / factor
                    } else {
                        0.0
                    };
                }
                if let Some(divisors) = self.divisors(length) {
                    return frequency / divisors.get(pair).copied().unwrap_or(1.0);
                }
                let kept = self.kept(frequency, pair as f64, theta, dims);
                frequency * (kept + (1.0 - kept) / self.divisor())
            })
            .collect()
    }

    /// The factor of cosines and sines.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        match *self {
            Self::Yarn { attention_factor, .. } | Self::LongRope { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// The divisor of each frequency, if the rule has them, for sequences of at most `length` positions.
    fn divisors(&self, length: usize) -> Option<&[f64]> {
        match self {
            Self::LongRope {
                short_factor,
                long_factor,
                original_max_position_embeddings: original,
                ..
            } => Some(if length as f64 > *original {
                long_factor
            } else {
                short_factor
            }),
            _ => None,
        }
    }

    /// Largest number of positions in a key cache, if the rule limits it. Beyond the original context LongRoPE rotates
    /// keys by other frequencies, but cached keys are rotated already.
    pub(crate) fn cached_positions(&self) -> Option<usize> {
        match *self {
            Self::LongRope {
                original_max_position_embeddings: original,
                ..
            } => Some(original as usize),
            _ => None,
        }
    }

    /// Whether frequencies depend on the length of the longest sequence.
    #[must_use]
    pub fn depends_on_length(&self) -> bool {
        matches!(self, Self::Dynamic { .. } | Self::LongRope { .. })
    }

    fn divisor(&self) -> f64 {
        match *self {
            Self::Default | Self::Dynamic { .. } | Self::LongRope { .. } => 1.0,
            Self::Linear { factor }
            | Self::Yarn { factor, .. }
            | Self::Llama3 { factor, .. }
            | Self::Proportional { factor, .. } => factor,
        }
    }

    /// The weight of the undivided frequency in the interpolation, 0 to 1.
    fn kept(&self, frequency: f64, pair: f64, theta: f64, dims: f64) -> f64 {
        match *self {
            Self::Default
            | Self::Dynamic { .. }
            | Self::LongRope { .. }
            | Self::Linear { .. }
            | Self::Proportional { .. } => 0.0,
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
