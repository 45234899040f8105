//! How far an objective separates planted noise from the rest.

use schemars::JsonSchema;
use serde::Serialize;

/// A sample as an objective sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Influenced {
    /// Its weight times the mean gate of its tokens.
    pub(crate) influence: f64,
    /// Its supervised tokens.
    pub(crate) tokens: usize,
    /// Whether it is planted noise.
    pub(crate) is_planted: bool,
}

/// The planted samples among those whose influence an objective lowers most. Influence is weight times mean gate.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Recall {
    /// Planted samples.
    pub(crate) planted: usize,
    /// The chance that a planted sample has less influence than one that was left alone; ties count half.
    pub(crate) auc: Option<f64>,
    /// The share of planted samples among as many with the least influence.
    pub(crate) recall: Option<f64>,
    /// The share of the tokens of planted samples among as many of the samples with the least influence.
    pub(crate) token_recall: Option<f64>,
    /// Mean influence of the planted samples over that of the others.
    pub(crate) influence_ratio: Option<f64>,
}

impl Recall {
    pub(crate) fn of(samples: &[Influenced]) -> Self {
        let of = |wanted: bool| -> Vec<f64> {
            let chosen = samples.iter().filter(|sample| sample.is_planted == wanted);
            chosen.map(|sample| sample.influence).collect()
        };
        let (noisy, clean) = (of(true), of(false));
        let both = !noisy.is_empty() && !clean.is_empty();
        let each = samples
            .iter()
            .map(|sample| (sample.influence, 1.0, sample.is_planted));
        let tokens = samples
            .iter()
            .map(|sample| (sample.influence, sample.tokens as f64, sample.is_planted));
        Self {
            planted: noisy.len(),
            auc: both.then(|| auc(&noisy, &clean)),
            recall: both.then(|| recall(each.collect())),
            token_recall: both.then(|| recall(tokens.collect())),
            influence_ratio: both
                .then(|| mean(&noisy) / mean(&clean))
                .filter(|ratio| ratio.is_finite()),
        }
    }

    pub(crate) fn cells(&self) -> [String; 2] {
        [self.auc, self.recall].map(|value| value.map_or("–".to_owned(), |value| format!("{value:.3}")))
    }
}

/// The share of pairs in which the planted one is below; ties count half.
fn auc(noisy: &[f64], clean: &[f64]) -> f64 {
    let mut clean = clean.to_vec();
    clean.sort_by(f64::total_cmp);
    let above = |value: f64| {
        let (less, at_most) = (
            clean.partition_point(|&other| other < value),
            clean.partition_point(|&other| other <= value),
        );
        (clean.len() - at_most) as f64 + 0.5 * (at_most - less) as f64
    };
    noisy.iter().map(|&value| above(value)).sum::<f64>() / (noisy.len() * clean.len()) as f64
}

/// The share of the planted ones among as many with the lowest values; of values that tie there, the share that fits. Each entry is a
/// value, how much it counts, and whether it is planted.
fn recall(mut entries: Vec<(f64, f64, bool)>) -> f64 {
    entries.sort_by(|one, other| one.0.total_cmp(&other.0));
    let planted = |entries: &[(f64, f64, bool)]| -> f64 {
        let planted = entries.iter().filter(|(.., is_planted)| *is_planted);
        planted.map(|(_, count, _)| count).sum()
    };
    let all = planted(&entries);
    let (mut room, mut found) = (all, 0.0);
    for ties in entries.chunk_by(|one, other| one.0 == other.0) {
        let count: f64 = ties.iter().map(|(_, count, _)| count).sum();
        let share = (room / count).min(1.0);
        found += share * planted(ties);
        room -= share * count;
        if room <= 0.0 {
            break;
        }
    }
    found / all
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_and_recall_are_those_of_the_textbook() {
        assert_eq!(auc(&[0.1, 0.2], &[0.3, 0.4]), 1.0);
        assert_eq!(auc(&[0.3, 0.4], &[0.1, 0.2]), 0.0);
        // Pairs: 0.1 is below both, 0.3 below one and equal to one.
        assert_eq!(auc(&[0.1, 0.3], &[0.3, 0.4]), 3.5 / 4.0);
        let recall = |noisy: &[f64], clean: &[f64]| {
            let noisy = noisy.iter().map(|&value| (value, 1.0, true));
            recall(
                noisy
                    .chain(clean.iter().map(|&value| (value, 1.0, false)))
                    .collect(),
            )
        };
        assert_eq!(recall(&[0.1, 0.2], &[0.3, 0.4]), 1.0);
        assert_eq!(recall(&[0.1, 0.5], &[0.3, 0.4]), 0.5);
        // All weights are 1: what a draw would find.
        assert_eq!(recall(&[1.0, 1.0], &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), 0.25);
        assert_eq!(auc(&[1.0], &[1.0, 1.0]), 0.5);
    }

    #[test]
    fn tokens_count_where_samples_are_of_unequal_length() {
        let sample = |influence, tokens, is_planted| Influenced {
            influence,
            tokens,
            is_planted,
        };
        // Room for 6 tokens: the clean sample's 2, and 4 of the 5 of the planted one.
        let found = Recall::of(&[
            sample(0.1, 2, false),
            sample(0.2, 5, true),
            sample(0.9, 1, true),
            sample(0.8, 9, false),
        ]);
        assert_eq!((found.planted, found.recall), (2, Some(0.5)));
        assert!((found.token_recall.unwrap() - 4.0 / 6.0).abs() < 1e-12);
        let none = Recall::of(&[sample(0.1, 2, false)]);
        assert_eq!((none.auc, none.token_recall), (None, None));
    }
}
