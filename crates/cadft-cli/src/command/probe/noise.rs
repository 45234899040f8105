//! How well an objective separates planted noise from the other samples.

use cadft_step::{Probe, ProbedSample};
use serde::Serialize;

/// Statistics of the influence of planted samples. The influence of a sample is its weight times its mean gate.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Recall {
    /// Number of planted samples.
    planted: usize,
    /// The probability that a planted sample has less influence than a clean one (area under the ROC curve); ties count
    /// half.
    auc: Option<f64>,
    /// With `planted` samples taken in order of least influence: the share of the planted samples among them.
    recall: Option<f64>,
    /// Mean influence of the planted samples, divided by that of the others.
    influence_ratio: Option<f64>,
}

impl Recall {
    /// `planted` has one entry for each sample.
    pub(super) fn new(probe: &Probe, planted: &[bool]) -> Self {
        let influence = |sample: &ProbedSample| sample.weight * sample.mean_gate;
        let of = |wanted: bool| -> Vec<f64> {
            let chosen = probe.samples.iter().zip(planted).filter(|(_, is)| **is == wanted);
            chosen.map(|(sample, _)| influence(sample)).collect()
        };
        let (noisy, clean) = (of(true), of(false));
        let both = !noisy.is_empty() && !clean.is_empty();
        Self {
            planted: noisy.len(),
            auc: both.then(|| auc(&noisy, &clean)),
            recall: both.then(|| recall(&noisy, &clean)),
            influence_ratio: both
                .then(|| mean(&noisy) / mean(&clean))
                .filter(|ratio| ratio.is_finite()),
        }
    }

    pub(super) fn cells(&self) -> [String; 2] {
        [self.auc, self.recall].map(|value| value.map_or("–".to_owned(), |value| format!("{value:.3}")))
    }
}

/// The share of pairs in which the noisy value is below the clean one; ties count half.
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

/// The share of the noisy values among the `noisy.len()` lowest values. If values tie at the limit, they count in
/// proportion to the places left.
fn recall(noisy: &[f64], clean: &[f64]) -> f64 {
    let mut all: Vec<f64> = [noisy, clean].concat();
    all.sort_by(f64::total_cmp);
    let last = all[noisy.len() - 1];
    let count =
        |values: &[f64], is: fn(&f64, &f64) -> bool| values.iter().filter(|value| is(value, &last)).count();
    let below = count(&all, |value, last| value < last);
    let ties = count(&all, |value, last| value == last);
    let places = (noisy.len() - below) as f64 / ties as f64;
    let found = count(noisy, |value, last| value < last) as f64
        + places * count(noisy, |value, last| value == last) as f64;
    found / noisy.len() as f64
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
        assert_eq!(recall(&[0.1, 0.2], &[0.3, 0.4]), 1.0);
        assert_eq!(recall(&[0.1, 0.5], &[0.3, 0.4]), 0.5);
        // All values are equal: the recall of a random choice.
        assert_eq!(recall(&[1.0, 1.0], &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), 0.25);
        assert_eq!(auc(&[1.0], &[1.0, 1.0]), 0.5);
    }
}
