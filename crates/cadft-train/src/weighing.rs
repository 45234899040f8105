//! The weights of samples, with as few waits for the device as their definition allows.
//!
//! | statistics of CADFT-2 | micro-batches | scores are read | reads of a step |
//! |---|---|---|---|
//! | none, the weights are 1 | any | with the next step | 1 |
//! | of this global batch | 1 | before its backward pass | 1 |
//! | of this global batch | `m` | in the scoring pass, all together | 1 |
//! | of this global batch, with adapter dropout | `m` | also before each backward pass | `m + 1` |
//! | of earlier global batches | `m` | before each backward pass | `m` |
//! | none, the weights go by the reference model | `m` | before each backward pass | `m` |
//!
//! The first read brings along how the step before ended. Where weights need none, it is a read for that alone, after the
//! first forward pass, so that the host issues the update while the device is busy with the backward pass. Running statistics
//! hold the step before, so they are taken after that read. Where there were none before it, it is waited for first, with a
//! read more: it says whether there are some now. Without any, a step is weighed by its own.

use crate::batch::{GlobalBatch, MicroBatch};
use crate::forward::read_scores;
use crate::observe::TokenValues;
use crate::readback::Readback;
use burn::module::Module;
use cadft_core::{Objective, Reference, RunningMoments, SampleStats, Standardiser, Statistics};
use cadft_model::CausalLm;

/// What the weights of a global batch are made of.
pub(crate) struct Weighing<'a> {
    objective: &'a dyn Objective,
    /// The statistics of CADFT-2, where they are not those of the weighted pass.
    pub(crate) standardiser: Option<Standardiser>,
    /// What they are made of, where the weights are by earlier batches; without the step before.
    running: Option<RunningMoments>,
    /// Scores of the whole global batch, where the scoring pass computed what the weighted pass will.
    scores: Option<Vec<f64>>,
}

impl<'a> Weighing<'a> {
    /// Makes the scoring pass, where one is needed.
    pub(crate) fn before(
        model: &CausalLm,
        batch: &GlobalBatch,
        objective: &'a dyn Objective,
        running: &RunningMoments,
        readback: &mut Readback,
    ) -> Self {
        let mut weighing = Self {
            objective,
            standardiser: None,
            running: None,
            scores: None,
        };
        let Some(compatibility) = objective.compatibility() else {
            return weighing;
        };
        if compatibility.statistics == Statistics::Running {
            if running.standardiser().is_none() {
                // Whether there are statistics is for the step before to say.
                readback.settle();
            }
            weighing.running = (statistics(running, readback).is_some()).then_some(*running);
        }
        if weighing.running.is_none() && batch.micro.len() > 1 {
            let scores = read_scores(&model.valid(), batch, readback);
            weighing.standardiser = Some(scores.iter().copied().collect());
            let are_enough = !model.has_adapter_dropout() && !by_reference(objective);
            weighing.scores = are_enough.then_some(scores);
        }
        weighing
    }

    /// The weights of a micro-batch's samples; its values, read where the weights depend on them.
    pub(crate) fn weights(
        &mut self,
        micro: &MicroBatch,
        values: TokenValues,
        readback: &mut Readback,
    ) -> (TokenValues, Vec<f64>) {
        if self.objective.compatibility().is_none() && !by_reference(self.objective) {
            readback.settle();
            return (values, vec![1.0; micro.samples.len()]);
        }
        let (values, scores, reference) = match &self.scores {
            Some(scores) => {
                let own = micro.samples.iter().map(|&sample| scores[sample]);
                (values, own.collect(), None)
            }
            None => values.scores(micro, readback),
        };
        if let Some(running) = &self.running {
            self.standardiser = statistics(running, readback);
        }
        // Without statistics this micro-batch is the whole global batch, or they are not looked at.
        let standardiser = (self.standardiser).unwrap_or_else(|| scores.iter().copied().collect());
        let weights = self.objective.sample_weights(&SampleStats {
            scores: &scores,
            batch: &standardiser,
            reference: reference.as_deref(),
        });
        (values, weights)
    }
}

/// Whether weights depend on the likelihoods of the reference model, which come with the weighted pass.
fn by_reference(objective: &dyn Objective) -> bool {
    objective.reference() == Some(Reference::Scores)
}

/// Running statistics, with the step before as soon as that was read.
fn statistics(running: &RunningMoments, readback: &Readback) -> Option<Standardiser> {
    let mut running = *running;
    if let Some(before) = &readback.settled {
        before.outcome.add_to(&mut running);
    }
    running.standardiser()
}
