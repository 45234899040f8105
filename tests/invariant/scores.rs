//! Scores of single samples: each is independent of the others, and memory does not grow with their number.

use burn::module::Module;
use cadft_data::Example;
use cadft_tests::{REORDERED, devices};
use cadft_train::evaluate::{SampleScore, score_samples};
use std::borrow::Borrow;
use std::cell::Cell;

fn nlls(scores: impl IntoIterator<Item = SampleScore>) -> Vec<f64> {
    scores.into_iter().map(|score| score.nll).collect()
}

#[test]
fn a_score_does_not_depend_on_what_is_scored_beside_it() {
    for (name, device) in devices() {
        let model = super::models::model("tiny-llama-tied", &device).valid();
        let samples = super::models::unequal(100);
        let alone = nlls(score_samples(&model, &samples, 1));
        for micro in [2, 3, 8, 64, 100] {
            let together = nlls(score_samples(&model, &samples, micro));
            REORDERED.assert_close(&format!("{name} {micro}"), &together, &alone);
        }
    }
}

/// A sample that is counted while it is in memory.
struct Held<'a> {
    sample: Example,
    count: &'a Cell<usize>,
}

impl Borrow<Example> for Held<'_> {
    fn borrow(&self) -> &Example {
        &self.sample
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

#[test]
fn scoring_holds_a_bounded_number_of_samples_and_gives_them_in_order() {
    const SAMPLES: u32 = 40_000;
    const MOST: usize = 16_384;
    let (name, device) = devices().remove(0);
    let model = super::models::model("tiny-llama-tied", &device).valid();
    let (held, read, most) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let samples = super::models::unequal(SAMPLES).into_iter().map(|sample| {
        held.set(held.get() + 1);
        most.set(most.get().max(held.get()));
        read.set(read.get() + 1);
        Held { sample, count: &held }
    });
    let mut scores = score_samples(&model, samples, 64);
    assert_eq!(read.get(), 0, "{name}: nothing is read before it is asked for");
    for number in 0..SAMPLES as usize {
        let score = scores.next().expect("a score");
        assert_eq!(score.id, number.to_string());
        assert!(read.get() - number <= MOST, "{} read for {number}", read.get());
    }
    assert!(scores.next().is_none());
    drop(scores);
    assert_eq!((read.get(), held.get()), (SAMPLES as usize, 0));
    assert!(most.get() <= MOST, "{} samples were held", most.get());
}
