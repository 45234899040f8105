//! The values of the steps of a window, under the model as it was when the window began (PSFT-1).
//!
//! No second model is kept: the samples of the steps of a window are known when it begins, and a number for each of their tokens is
//! all that is needed. A checkpoint holds those of the steps that are left.

use super::values;
use cadft_core::TokenReference;
use cadft_data::Example;
use cadft_model::CausalLm;
use cadft_model::parameters::NamedTensor;
use cadft_step::Ranks;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The values of the samples of some steps.
#[derive(Debug, PartialEq)]
pub(crate) struct Window {
    /// How many steps a window has.
    every: usize,
    /// The steps of the run before the first window.
    before: usize,
    /// For each step that is left its samples, in the order of the batch.
    of_steps: BTreeMap<usize, Vec<Vec<f32>>>,
}

impl Window {
    /// Nothing is known yet. The first window begins after `before` steps.
    pub(super) fn new(every: usize, before: usize) -> Self {
        Self {
            every,
            before,
            of_steps: BTreeMap::new(),
        }
    }

    /// The values of the samples of a step, if they are known.
    pub(crate) fn of_step(&self, step: usize) -> Option<&Vec<Vec<f32>>> {
        self.of_steps.get(&step)
    }

    /// The steps of the window that `step` is in, from it on, in a run of `total` steps.
    pub(crate) fn steps_from(&self, step: usize, total: usize) -> RangeInclusive<usize> {
        let windows = (step - self.before).div_ceil(self.every);
        step..=(self.before + windows * self.every).min(total)
    }

    /// Begins a window: `model` is as it is now, off the autodiff graph, `steps` are those of [`Window::steps_from`] with their samples.
    pub(crate) fn renew(&mut self, ranks: &Ranks, model: &CausalLm, steps: &[(usize, Vec<Example>)]) {
        let wanted = TokenReference::Renewed { every: self.every };
        let samples: Vec<&Example> = steps.iter().flat_map(|(_, samples)| samples).collect();
        let mut all = values(ranks, model, &samples, wanted).into_iter();
        self.of_steps = (steps.iter())
            .map(|(step, samples)| (*step, all.by_ref().take(samples.len()).collect()))
            .collect();
    }

    /// Samples have changed: the rest of the window is to be computed again.
    pub(crate) fn forget(&mut self) {
        self.of_steps.clear();
    }

    /// What a checkpoint after `done` steps must hold, a tensor a step.
    pub(crate) fn state(&self, done: usize) -> Vec<NamedTensor> {
        (self.of_steps.range(done + 1..))
            .map(|(step, values)| NamedTensor::from_values(name(*step), values.concat()))
            .collect()
    }

    /// Takes the values of a step from a checkpoint; `supervised` are the tokens of its samples. `false` if there are not as many.
    pub(crate) fn restore(&mut self, step: usize, values: &[f32], supervised: &[usize]) -> bool {
        if supervised.iter().sum::<usize>() != values.len() {
            return false;
        }
        let mut rest = values;
        let of_samples = supervised.iter().map(|&count| {
            let own;
            (own, rest) = rest.split_at(count);
            own.to_vec()
        });
        self.of_steps.insert(step, of_samples.collect());
        true
    }
}

/// The name of the values of a step in a checkpoint.
fn name(step: usize) -> String {
    format!("step-{step:06}")
}

/// The step of a name.
pub(crate) fn step_of(name: &str) -> Option<usize> {
    name.strip_prefix("step-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_after_the_start_of_the_run_and_end_with_it() {
        let window = Window::new(4, 3);
        let found: Vec<_> = [4, 6, 7, 8, 9, 13].map(|step| window.steps_from(step, 13)).into();
        assert_eq!(found, [4..=7, 6..=7, 7..=7, 8..=11, 9..=11, 13..=13]);
        assert_eq!(Window::new(1, 0).steps_from(5, 9), 5..=5);
    }

    #[test]
    fn what_a_checkpoint_holds_is_what_is_left() {
        let mut window = Window::new(2, 0);
        assert!(window.restore(1, &[1.0, 2.0, 3.0], &[1, 2]));
        assert!(window.restore(2, &[4.0, 5.0], &[2]));
        assert!(!window.restore(3, &[4.0], &[2]));
        assert_eq!(window.of_step(1), Some(&vec![vec![1.0], vec![2.0, 3.0]]));
        let state = window.state(1);
        let names: Vec<_> = state.iter().map(|tensor| step_of(&tensor.name)).collect();
        assert_eq!(names, [Some(2)]);
        let values: Vec<f32> = state[0].to_data().iter().collect();
        assert_eq!(values, [4.0, 5.0]);
        window.forget();
        assert!(window.state(0).is_empty());
    }
}
