//! Choosing the next token from logits, on the host and in f64.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::ModelError;

/// How tokens are chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Sampling {
    /// The most probable token; of several, the one with the lowest id.
    #[default]
    Greedy,
    /// A draw from the [`nucleus`] of the distribution `softmax(logits / temperature)`.
    Nucleus {
        /// Above 1 flattens the distribution, below 1 sharpens it.
        temperature: f64,
        /// The probability mass of the nucleus, above 0 and up to 1.
        top_p: f64,
        /// The seed; each prompt of a batch has its own stream.
        seed: u64,
    },
}

impl Sampling {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let Self::Nucleus {
            temperature, top_p, ..
        } = self
        else {
            return Ok(());
        };
        if !(temperature.is_finite() && *temperature > 0.0) {
            return Err(ModelError::Generate(format!(
                "`temperature` is `{temperature}`; expected a number above zero\nhint: use greedy sampling instead"
            )));
        }
        if !(*top_p > 0.0 && *top_p <= 1.0) {
            return Err(ModelError::Generate(format!(
                "`top_p` is `{top_p}`; expected a number above 0 and up to 1"
            )));
        }
        Ok(())
    }
}

/// The tokens of the smallest set whose mass reaches `top_p`, most probable first, with their probabilities.
///
/// Tokens are taken in order of falling probability, and of rising id where probabilities are equal, until the sum of
/// their probabilities is at least `top_p`; there is always at least one. The probabilities are those of the whole
/// distribution.
///
/// # Examples
///
/// ```
/// use cadft_model::generate::nucleus;
/// let kept = |top_p| nucleus(&[0.25, 0.5, 0.25], top_p).iter().map(|&(id, _)| id).collect::<Vec<_>>();
/// assert_eq!(kept(0.5), [1]);
/// assert_eq!(kept(0.75), [1, 0]);
/// assert_eq!(kept(0.76), [1, 0, 2]);
/// ```
#[must_use]
pub fn nucleus(probabilities: &[f64], top_p: f64) -> Vec<(u32, f64)> {
    let mut tokens: Vec<_> = probabilities
        .iter()
        .enumerate()
        .map(|(id, &p)| (id as u32, p))
        .collect();
    tokens.sort_unstable_by(|(id_a, a), (id_b, b)| b.total_cmp(a).then(id_a.cmp(id_b)));
    let mut mass = 0.0;
    let kept = tokens.iter().position(|(_, probability)| {
        mass += probability;
        mass >= top_p
    });
    tokens.truncate(kept.map_or(tokens.len(), |last| last + 1));
    tokens
}

/// Chooses the tokens of one sequence.
pub(super) enum Sampler {
    Greedy,
    Nucleus {
        temperature: f64,
        top_p: f64,
        generator: Box<ChaCha8Rng>,
    },
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling, index: usize) -> Self {
        match *sampling {
            Sampling::Greedy => Self::Greedy,
            Sampling::Nucleus {
                temperature,
                top_p,
                seed,
            } => {
                let mut generator = Box::new(ChaCha8Rng::seed_from_u64(seed));
                generator.set_stream(index as u64);
                Self::Nucleus {
                    temperature,
                    top_p,
                    generator,
                }
            }
        }
    }

    /// The next token and its log-probability under the untempered distribution.
    pub(super) fn choose(&mut self, logits: &[f32]) -> (u32, f64) {
        let token = match self {
            Self::Greedy => greedy(logits),
            Self::Nucleus {
                temperature,
                top_p,
                generator,
            } => {
                let nucleus = nucleus(&softmax(logits, *temperature), *top_p);
                draw(&nucleus, generator.random::<f64>())
            }
        };
        (token, f64::from(logits[token as usize]) - log_sum_exp(logits))
    }
}

fn greedy(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// The token at `uniform` in [0, 1) of the nucleus' cumulated mass.
fn draw(nucleus: &[(u32, f64)], uniform: f64) -> u32 {
    let mut left = uniform * nucleus.iter().map(|(_, probability)| probability).sum::<f64>();
    for &(token, probability) in nucleus {
        left -= probability;
        if left < 0.0 {
            return token;
        }
    }
    nucleus.last().map_or(0, |&(token, _)| token)
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let max = maximum(logits);
    let mut probabilities: Vec<_> = logits
        .iter()
        .map(|&logit| ((f64::from(logit) - max) / temperature).exp())
        .collect();
    let sum: f64 = probabilities.iter().sum();
    probabilities
        .iter_mut()
        .for_each(|probability| *probability /= sum);
    probabilities
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = maximum(logits);
    max + logits
        .iter()
        .map(|&logit| (f64::from(logit) - max).exp())
        .sum::<f64>()
        .ln()
}

fn maximum(logits: &[f32]) -> f64 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max).into()
}
