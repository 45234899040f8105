//! What a frozen model says of the tokens of a step, given to its batch.

use super::Trainer;
use crate::checkpoint::{CheckpointError, Restored};
use crate::frozen::{Frozen, step_of, values};
use burn::module::Module;
use cadft_core::Objective;
use cadft_data::Example;
use cadft_model::CausalLm;
use cadft_step::GlobalBatch;

impl Trainer<'_> {
    /// `batch`, with what a frozen model says of its tokens if the objective of step `number` asks for that. `samples` are those of
    /// the batch, `chosen` their places in the data, and `model` is as it is before the step.
    pub(super) fn compared(
        &mut self,
        (number, objective): (usize, &dyn Objective),
        (samples, chosen): (&[&Example], &[usize]),
        model: &CausalLm,
        batch: GlobalBatch,
    ) -> GlobalBatch {
        let Some(wanted) = objective.token_reference() else {
            return batch;
        };
        if matches!(&self.frozen, Frozen::Window(window) if window.of_step(number).is_none()) {
            self.renew(number, model);
        }
        let values = match &self.frozen {
            Frozen::Kept(kept) => chosen.iter().map(|&sample| kept.of_sample(sample)).collect(),
            Frozen::Live(frozen) => values(self.state.ranks(), frozen, samples, wanted),
            Frozen::Window(window) => window.of_step(number).cloned().unwrap_or_default(),
            // Only a run that was stopped before its first step has no values.
            Frozen::Unasked => unreachable!("the objective of the recipe asks for values"),
        };
        batch.with_reference(values)
    }

    /// Begins a window with step `number`.
    fn renew(&mut self, number: usize, model: &CausalLm) {
        let prepared = self.prepared;
        let Frozen::Window(window) = &mut self.frozen else {
            return;
        };
        let mut steps = vec![];
        for step in window.steps_from(number, prepared.plan.steps) {
            let chosen = self.sampler.samples_of(step).into_iter();
            let samples = chosen.map(|sample| self.rewriting.example(sample, &prepared.train));
            steps.push((step, samples.collect()));
        }
        window.renew(self.state.ranks(), &model.valid(), &steps);
    }

    /// Samples have changed.
    pub(super) fn forget_window(&mut self) {
        if let Frozen::Window(window) = &mut self.frozen {
            window.forget();
        }
    }

    /// Takes the rest of a window from a checkpoint.
    pub(super) fn restore_window(&mut self, from: &Restored) -> Result<(), CheckpointError> {
        let Frozen::Window(window) = &mut self.frozen else {
            return Ok(());
        };
        let (file, tensors) = from.reference()?;
        for (name, data) in tensors {
            let damaged = || CheckpointError::damaged(&file, &format!("`{name}` is not what a step needs"));
            let step = step_of(&name).filter(|&step| step > from.state.step);
            let step = step.ok_or_else(damaged)?;
            let chosen = self.sampler.samples_of(step).into_iter();
            let samples = chosen.map(|sample| self.rewriting.example(sample, &self.prepared.train));
            let supervised: Vec<usize> = samples.map(|sample| sample.supervised()).collect();
            let values: Vec<f32> = data.iter().collect();
            if !window.restore(step, &values, &supervised) {
                return Err(damaged());
            }
        }
        Ok(())
    }
}
