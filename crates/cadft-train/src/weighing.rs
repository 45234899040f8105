//! The weights of samples, with as few waits for the device as their definition allows.
//!
//! | statistics of CADFT-2 | micro-batches | scores are read | reads of a step |
//! |---|---|---|---|
//! | none, the weights are 1 | any | after the backward pass | 1 |
//! | of this global batch | 1 | before its backward pass | 2 |
//! | of this global batch | `m` | in the scoring pass, all together | 2 |
//! | of this global batch, with adapter dropout | `m` | also before each backward pass | `m + 2` |
//! | of earlier global batches | `m` | before each backward pass | `m + 1` |
//!
//! The last read of a step is that of everything else together, the gradient's norm among it.

use crate::batch::{GlobalBatch, MicroBatch};
use crate::forward::read_scores;
use crate::observe::TokenValues;
use crate::readback::Readback;
use burn::module::Module;
use cadft_core::{AnyObjective, Objective, RunningMoments, Standardiser, Statistics};
use cadft_model::CausalLm;

/// What the weights of a global batch are made of.
pub(crate) struct Weighing<'a> {
    objective: &'a AnyObjective,
    /// The statistics of CADFT-2, where they must be known before the weighted pass.
    pub(crate) standardiser: Option<Standardiser>,
    /// Scores of the whole global batch, where the scoring pass computed what the weighted pass will.
    scores: Option<Vec<f64>>,
}

impl<'a> Weighing<'a> {
    /// Takes the statistics of earlier batches, or makes the scoring pass, where one or the other is needed.
    pub(crate) fn before(
        model: &CausalLm,
        batch: &GlobalBatch,
        objective: &'a AnyObjective,
        running: &RunningMoments,
        readback: &mut Readback,
    ) -> Self {
        let mut weighing = Self {
            objective,
            standardiser: None,
            scores: None,
        };
        let Some(compatibility) = objective.compatibility() else {
            return weighing;
        };
        weighing.standardiser =
            (running.standardiser()).filter(|_| compatibility.statistics == Statistics::Running);
        if weighing.standardiser.is_none() && batch.micro.len() > 1 {
            let scores = read_scores(&model.valid(), batch, readback);
            weighing.standardiser = Some(scores.iter().copied().collect());
            weighing.scores = (!model.has_adapter_dropout()).then_some(scores);
        }
        weighing
    }

    /// The weights of a micro-batch's samples; its values, read where the weights depend on them.
    pub(crate) fn weights(
        &self,
        micro: &MicroBatch,
        values: TokenValues,
        readback: &mut Readback,
    ) -> (TokenValues, Vec<f64>) {
        if self.objective.compatibility().is_none() {
            return (values, vec![1.0; micro.samples.len()]);
        }
        let (values, scores) = match &self.scores {
            Some(scores) => {
                let own = micro.samples.iter().map(|&sample| scores[sample]);
                (values, own.collect())
            }
            None => values.scores(micro, readback),
        };
        // Without statistics this micro-batch is the whole global batch.
        let standardiser = (self.standardiser).unwrap_or_else(|| scores.iter().copied().collect());
        let weights = self.objective.sample_weights(&scores, &standardiser);
        (values, weights)
    }
}
