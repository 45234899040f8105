//! Draws the tokens of one sequence from a separate random stream.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::sampling::Sampling;
use crate::fused;

/// Chooses the tokens of one sequence.
pub(super) struct Sampler {
    generator: ChaCha8Rng,
    /// Tokens of prompt and text; kept only for a repetition penalty.
    seen: Vec<u32>,
}

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) token: u32,
    /// The token's log-probability under the unmodified logits.
    pub(super) log_prob: f64,
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling, stream: u64, prompt: &[u32]) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(sampling.seed);
        generator.set_stream(stream);
        let seen = if sampling.repetition_penalty == 1.0 {
            vec![]
        } else {
            prompt.to_vec()
        };
        Self { generator, seen }
    }

    /// Chooses the next token; `None` if the logits are not a distribution (NaN, +∞, or all −∞).
    pub(super) fn choose(&mut self, sampling: &Sampling, logits: &[f32]) -> Option<Choice> {
        let log_sum_exp = fused::log_sum_exp(logits);
        if !log_sum_exp.is_finite() {
            return None;
        }
        let token = if sampling.repetition_penalty == 1.0 {
            self.draw(sampling, logits)
        } else {
            let mut penalised = logits.to_vec();
            sampling.penalise(&mut penalised, self.seen.iter().copied());
            let token = self.draw(sampling, &penalised);
            self.seen.push(token);
            token
        };
        Some(Choice {
            token,
            log_prob: f64::from(logits[token as usize]) - log_sum_exp,
        })
    }

    fn draw(&mut self, sampling: &Sampling, logits: &[f32]) -> u32 {
        if sampling.is_greedy() {
            return most_probable(logits);
        }
        // Exactly one random number per token, so that the stream does not depend on the settings.
        let uniform = self.generator.random::<f64>();
        if sampling.cuts() {
            let kept = sampling.kept(logits);
            let target = uniform * kept.mass();
            let weights = kept.tokens.iter().copied().zip(kept.weights.iter().copied());
            return at(weights, target);
        }
        let max = maximum(logits);
        let weights: Vec<f64> = logits.iter().map(|&logit| sampling.weight(logit, max)).collect();
        let target = uniform * weights.iter().sum::<f64>();
        at((0u32..).zip(weights), target)
    }
}

/// The token at `target` in the cumulative weights; the last token with a positive weight if rounding exceeds the sum.
fn at(weights: impl IntoIterator<Item = (u32, f64)>, target: f64) -> u32 {
    let (mut left, mut last) = (target, 0);
    for (token, weight) in weights {
        if weight > 0.0 {
            last = token;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

/// The token with the largest logit; the lowest id wins a tie.
fn most_probable(logits: &[f32]) -> u32 {
    let max = maximum(logits);
    logits.iter().position(|&logit| logit == max).unwrap_or(0) as u32
}

fn maximum(logits: &[f32]) -> f32 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}
