//! How far the logits of two models are apart.

use burn::tensor::{Int, Tensor, TensorData};
use cadft_model::{CausalLm, ModelConfig};

/// Length of the text whose logits are compared, in tokens.
const TOKENS: usize = 64;

/// How the differences at single tokens make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfTokens {
    /// The largest.
    Largest,
    /// The median. Where two experts are nearly equal, rounding decides which of them a token goes to.
    Median,
}

fn of_tokens(config: &ModelConfig) -> OfTokens {
    match config.experts {
        None => OfTokens::Largest,
        Some(_) => OfTokens::Median,
    }
}

/// The logits of each token of a text that is spread over the vocabulary.
pub(super) struct Logits {
    /// `[TOKENS][vocab]`.
    tokens: Vec<Vec<f32>>,
    of_tokens: OfTokens,
}

impl Logits {
    /// In a model with experts each token is a text of its own, so that the experts of one do not change the logits of the
    /// others.
    pub(super) fn of(model: &CausalLm, config: &ModelConfig) -> Self {
        Self {
            tokens: logits(model, config),
            of_tokens: of_tokens(config),
        }
    }

    /// How far other logits are apart, relative to the largest logit of these.
    pub(super) fn difference(&self, after: &Self) -> f64 {
        relative_difference(&self.tokens, &after.tokens, self.of_tokens)
    }
}

fn logits(model: &CausalLm, config: &ModelConfig) -> Vec<Vec<f32>> {
    let vocab = config.vocab_size;
    let ids: Vec<i64> = (0..TOKENS)
        .map(|index| ((index * vocab / TOKENS + index * index) % vocab) as i64)
        .collect();
    let shape = match of_tokens(config) {
        OfTokens::Largest => [1, TOKENS],
        OfTokens::Median => [TOKENS, 1],
    };
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &model.device());
    let logits = model.logits(model.hidden_states(ids)).into_data();
    let logits: Vec<f32> = logits.iter().collect();
    logits.chunks(vocab).map(<[f32]>::to_vec).collect()
}

/// How far two lists of logits are apart, relative to the largest logit.
fn relative_difference(before: &[Vec<f32>], after: &[Vec<f32>], of: OfTokens) -> f64 {
    let all = before.iter().flatten();
    let largest = all.fold(0.0f64, |largest, logit| largest.max(f64::from(logit.abs())));
    let of_token = |(before, after): (&Vec<f32>, &Vec<f32>)| {
        before.iter().zip(after).fold(0.0f64, |worst, (before, after)| {
            let difference = f64::from((before - after).abs());
            if difference.is_nan() {
                f64::INFINITY
            } else {
                worst.max(difference)
            }
        })
    };
    let mut differences: Vec<f64> = before.iter().zip(after).map(of_token).collect();
    differences.sort_by(f64::total_cmp);
    let place = match of {
        OfTokens::Largest => differences.len().checked_sub(1),
        OfTokens::Median => Some(differences.len() / 2),
    };
    let difference = place.and_then(|place| differences.get(place)).copied();
    difference.unwrap_or_default() / largest.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_relative_to_the_largest_logit_and_never_hides_nan() {
        let largest = |before: &[f32], after: &[f32]| {
            relative_difference(&[before.to_vec()], &[after.to_vec()], OfTokens::Largest)
        };
        assert!((largest(&[1.0, -4.0], &[1.0, -4.2]) - 0.05).abs() < 1e-6);
        assert!(largest(&[1.0, 2.0], &[f32::NAN, 2.0]).is_infinite());
    }

    #[test]
    fn with_experts_single_tokens_may_go_another_way_but_not_most_of_them() {
        let before = vec![vec![1.0, 4.0]; 5];
        let moved = |count: usize| {
            let mut after = before.clone();
            after[..count].iter_mut().for_each(|token| token[0] = 3.0);
            relative_difference(&before, &after, OfTokens::Median)
        };
        assert_eq!([moved(2), moved(3)], [0.0, 0.5]);
    }
}
