//! The weights of samples, computed with as few reads from the device as possible.
//!
//! | statistics of CADFT-2 | micro-batches | scores are read | reads of a step |
//! |---|---|---|---|
//! | none, the weights are 1 | any | with the next step | 1 |
//! | of this global batch | 1 | before its backward pass | 1 |
//! | of this global batch | `m` | in the scoring pass, all together | 1 |
//! | of this global batch, with adapter dropout | `m` | also before each backward pass | `m + 1` |
//! | of earlier global batches | `m` | before each backward pass | `m` |
//! | none, the weights depend on the reference model | `m` | before each backward pass | `m` |
//!
//! The scoring pass computes the first micro-batch last, and with its graph: the weighted pass begins with it and does not repeat it. So `m`
//! micro-batches take `2m − 1` forward passes. With adapter dropout the passes differ, and nothing is kept.
//!
//! An objective whose gates go by the median of the scores, or by the largest excess losses, has a scoring pass too, before anything else, and a read with it,
//! which the weights share.
//!
//! The first read also fetches the outcome of the previous step. If weights need no read, one is made for that outcome,
//! after the first forward pass: the host then queues the update while the device computes the backward pass. Running
//! statistics include the previous step, so they are taken after that read. At the start of a run there are no
//! statistics: then the previous step is read first, with one additional read. A step for which there are no running
//! statistics at all uses its own.
//!
//! With several ranks, `m` is the largest number of micro-batches of any rank. If it is 1, the ranks exchange the
//! scores that they read before the backward pass. Adapter dropout makes the scores of the two passes differ. With it,
//! the scoring pass therefore runs whenever all ranks together have more than one micro-batch, so that the result does
//! not depend on the number of ranks.

use crate::batch::{GlobalBatch, MicroBatch};
use crate::forward::{Likelihoods, log_probs_of, scores_of};
use crate::observe::{Readback, TokenValues};
use crate::recompute::Graph;
use burn::module::Module;
use cadft_core::reduction::{least_of_largest, median_score};
use cadft_core::{Objective, Reference, RunningMoments, SampleStats, Standardiser, Statistics};
use cadft_model::CausalLm;

/// The data that the weights of a global batch are computed from.
pub(crate) struct Weighing<'a> {
    objective: &'a dyn Objective,
    /// The statistics of CADFT-2, if they do not come from the weighted pass.
    pub(crate) standardiser: Option<Standardiser>,
    /// Moments of earlier batches, without the previous step, if the weights use them.
    running: Option<RunningMoments>,
    /// Scores of the whole global batch, if the weighted pass would compute the same scores.
    scores: Option<Vec<f64>>,
    /// Whether scores must be exchanged with other ranks before weights are computed; this rank then has at most one
    /// micro-batch.
    is_part: bool,
    /// The median score of the global batch, if the gates depend on it.
    pub(crate) median_score: Option<f64>,
    /// The least of the largest excess losses of the global batch, if the gates go by it.
    pub(crate) least_excess: Option<f32>,
    /// What the scoring pass kept of the first micro-batch.
    first: Option<(Graph, Likelihoods)>,
}

impl<'a> Weighing<'a> {
    /// Runs the scoring pass, if one is needed.
    pub(crate) fn before(
        (model, reference): (&CausalLm, Option<&CausalLm>),
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
            is_part: false,
            median_score: None,
            least_excess: None,
            first: None,
        };
        let mut scored = None;
        if objective.looks_at_median() || objective.top_excess().is_some() {
            let read = weighing.log_probs(model, reference, batch, readback);
            let scores = scores_of(batch, &read, readback.ranks());
            weighing.median_score = objective.looks_at_median().then(|| median_score(&scores));
            weighing.least_excess =
                (objective.top_excess()).map(|top| least_excess(batch, &read, top, readback));
            scored = Some(scores);
        }
        let Some(compatibility) = objective.compatibility() else {
            return weighing;
        };
        if compatibility.statistics == Statistics::Running {
            if running.standardiser().is_none() {
                // The previous step may provide the first statistics.
                readback.settle();
            }
            weighing.running = (statistics(running, readback).is_some()).then_some(*running);
        }
        if weighing.running.is_some() {
            return weighing;
        }
        let (passes, most) = (batch.shares.passes(), batch.shares.most_micro());
        if most > 1 || scored.is_some() || passes > 1 && model.has_adapter_dropout() {
            let scores = scored.unwrap_or_else(|| {
                let read = weighing.log_probs(model, reference, batch, readback);
                scores_of(batch, &read, readback.ranks())
            });
            weighing.standardiser = Some(scores.iter().copied().collect());
            let are_enough = !model.has_adapter_dropout() && !by_reference(objective);
            weighing.scores = are_enough.then_some(scores);
        } else {
            weighing.is_part = passes > 1;
        }
        weighing
    }

    /// The scoring pass: the log-likelihoods of the targets of each micro-batch of this rank, in one read.
    fn log_probs(
        &mut self,
        model: &CausalLm,
        reference: Option<&CausalLm>,
        batch: &GlobalBatch,
        readback: &mut Readback,
    ) -> Vec<Vec<f32>> {
        let valid = model.valid();
        let of = |micro: &MicroBatch| log_probs_of(&valid, micro);
        let log_probs = match batch.micro.split_first() {
            Some((first, others)) if !model.has_adapter_dropout() => {
                let others: Vec<_> = others.iter().map(of).collect();
                let (graph, likelihoods) = Graph::forward(model, reference, first, self.objective);
                let own = likelihoods.stats.log_probs.clone();
                self.first = Some((graph, likelihoods));
                std::iter::once(own).chain(others).collect()
            }
            _ => batch.micro.iter().map(of).collect(),
        };
        readback.read(log_probs)
    }

    /// The graph of a micro-batch and its likelihoods, if the scoring pass kept them: those of the first one, once.
    pub(crate) fn kept(&mut self) -> Option<(Graph, Likelihoods)> {
        self.first.take()
    }

    /// The weights of the samples of a micro-batch, and its values, which are read if the weights depend on them.
    pub(crate) fn weights(
        &mut self,
        micro: &MicroBatch,
        batch: &GlobalBatch,
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
        if self.is_part {
            self.exchange(Some((micro, &scores)), batch, readback);
        }
        // No statistics: this micro-batch is the whole global batch, or the objective does not use them.
        let standardiser = (self.standardiser).unwrap_or_else(|| scores.iter().copied().collect());
        let weights = self.objective.sample_weights(&SampleStats {
            scores: &scores,
            batch: &standardiser,
            reference: reference.as_deref(),
        });
        (values, weights)
    }

    /// Makes the exchanges and the read that a rank without micro-batches has not made yet.
    pub(crate) fn finish(&mut self, batch: &GlobalBatch, readback: &mut Readback) {
        readback.settle();
        if self.is_part {
            self.exchange(None, batch, readback);
        }
        if let Some(running) = &self.running {
            self.standardiser = statistics(running, readback);
        }
    }

    /// Computes the statistics of the whole batch, from the scores of this rank's micro-batch and those of the other
    /// ranks.
    fn exchange(&mut self, own: Option<(&MicroBatch, &[f64])>, batch: &GlobalBatch, readback: &Readback) {
        let mut all = vec![0.0; batch.ids.len()];
        if let Some((micro, scores)) = own {
            for (&sample, &score) in micro.samples.iter().zip(scores) {
                all[sample] = score;
            }
        }
        readback.ranks().complete(&mut all);
        self.standardiser = Some(all.iter().copied().collect());
        self.is_part = false;
    }
}

/// Whether weights depend on the likelihoods of the reference model, which the weighted pass computes.
fn by_reference(objective: &dyn Objective) -> bool {
    objective.reference() == Some(Reference::Scores)
}

/// The least of the share `top` of the excess losses of all ranks that are largest.
fn least_excess(batch: &GlobalBatch, log_probs: &[Vec<f32>], top: f64, readback: &Readback) -> f32 {
    let mut excess = batch.excess(log_probs);
    readback.ranks().complete(&mut excess);
    #[expect(clippy::cast_possible_truncation, reason = "they were made of f32")]
    let excess: Vec<f32> = excess.into_iter().map(|excess| excess as f32).collect();
    least_of_largest(&excess, top)
}

/// Running statistics, including the previous step if it has been read.
fn statistics(running: &RunningMoments, readback: &Readback) -> Option<Standardiser> {
    let mut running = *running;
    if let Some(before) = &readback.settled {
        before.outcome.add_to(&mut running);
    }
    running.standardiser()
}
