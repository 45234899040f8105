//! The first and the last samples of an order, found without keeping the others.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A sample with its rank: the highest score comes first; among equal scores, the earliest sample.
#[derive(Clone, Debug)]
pub(super) struct Ranked<T> {
    pub(super) nll: f64,
    pub(super) number: usize,
    pub(super) sample: T,
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.nll.total_cmp(&self.nll)).then(self.number.cmp(&other.number))
    }
}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Ranked<T> {}

/// Keeps the `most` first and the `most` last of all samples.
pub(super) struct Extremes<T> {
    most: usize,
    first: BinaryHeap<Ranked<T>>,
    last: BinaryHeap<Reverse<Ranked<T>>>,
}

impl<T: Clone> Extremes<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            first: BinaryHeap::new(),
            last: BinaryHeap::new(),
        }
    }

    pub(super) fn push(&mut self, sample: Ranked<T>) {
        self.last.push(Reverse(sample.clone()));
        self.first.push(sample);
        if self.first.len() > self.most {
            self.first.pop();
            self.last.pop();
        }
    }

    /// The first and the last samples, both sorted.
    pub(super) fn into_sorted(self) -> [Vec<Ranked<T>>; 2] {
        let mut last: Vec<_> = self.last.into_iter().map(|Reverse(sample)| sample).collect();
        last.sort();
        [self.first.into_sorted_vec(), last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_are_the_ends_of_the_sorted_samples() {
        let scores: Vec<f64> = (0..40).map(|number| f64::from(number * 17 % 10)).collect();
        let mut sorted: Vec<usize> = (0..scores.len()).collect();
        sorted.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        for most in [0, 1, 3, 40, 50] {
            let mut extremes = Extremes::new(most);
            for (number, &nll) in scores.iter().enumerate() {
                let sample = number;
                extremes.push(Ranked { nll, number, sample });
                assert!(extremes.first.len() <= most && extremes.last.len() <= most);
            }
            let [first, last] = extremes
                .into_sorted()
                .map(|end| end.into_iter().map(|ranked| ranked.sample).collect::<Vec<_>>());
            let shown = most.min(scores.len());
            assert_eq!(first, sorted[..shown]);
            assert_eq!(last, sorted[scores.len() - shown..]);
        }
    }
}
