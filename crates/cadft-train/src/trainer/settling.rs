//! The end of a step: reads its outcome, and reports it.

use super::Trainer;
use crate::error::TrainError;
use crate::event::{Event, RankMetrics, StepMetrics};
use crate::process::peak_rss_mib;
use crate::samples::{StepSamples, is_recorded};
use cadft_core::GlobalCounts;
use cadft_core::compatibility::effective_sample_size;
use cadft_core::reduction::mean;
use cadft_step::batch::GlobalBatch;
use cadft_step::{Settled, StepOutcome};
use std::time::Instant;

/// The host's data about a step in flight.
pub(super) struct StepInFlight {
    /// Counted from 1.
    number: usize,
    objective: String,
    lr: f64,
    /// Indices of its samples in the data.
    chosen: Vec<usize>,
    /// Ids of its samples.
    ids: Vec<String>,
    /// Supervised tokens of its samples.
    supervised: Vec<usize>,
    counts: GlobalCounts,
    tokens: usize,
    /// Tokens of the rank that has the most, divided by the mean.
    imbalance: f64,
}

impl StepInFlight {
    pub(super) fn new(
        number: usize,
        objective: &str,
        lr: f64,
        chosen: Vec<usize>,
        batch: GlobalBatch,
    ) -> Self {
        Self {
            number,
            objective: objective.to_owned(),
            lr,
            chosen,
            counts: batch.counts(),
            tokens: batch.tokens,
            imbalance: batch.shares.imbalance(),
            ids: batch.ids,
            supervised: batch.supervised,
        }
    }

    /// Ids of the samples whose score is not finite; all ids if every score is finite.
    fn suspects(&self, outcome: &StepOutcome) -> Vec<String> {
        let bad: Vec<String> = (self.ids.iter().zip(&outcome.scores))
            .filter(|(_, score)| !score.is_finite())
            .map(|(id, _)| id.clone())
            .collect();
        if bad.is_empty() { self.ids.clone() } else { bad }
    }

    fn metrics(&self, outcome: &StepOutcome, elapsed_secs: f64) -> StepMetrics {
        let Self { counts, tokens, .. } = *self;
        StepMetrics {
            step: self.number,
            loss: outcome.loss,
            nll: mean(outcome.nll_sum, counts.supervised),
            objective: self.objective.clone(),
            mean_gate: mean(outcome.gate_sum, counts.supervised),
            mean_kl: (outcome.divergence_sum).map(|sum| mean(sum, counts.supervised)),
            mean_weight: mean(outcome.weights.iter().sum(), counts.samples),
            ess: effective_sample_size(&outcome.weights),
            mu: outcome.standardiser.mean,
            sigma: outcome.standardiser.std,
            max_z: outcome.z.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            grad_norm: outcome.grad_norm,
            lr: self.lr,
            tokens,
            supervised: counts.supervised,
            tokens_per_sec: tokens as f64 / elapsed_secs,
            peak_rss_mib: peak_rss_mib(),
            ranks: None,
        }
    }
}

impl Trainer<'_> {
    /// Waits for the step in flight and reports its outcome. Call it before any decision that depends on the outcome.
    pub(super) fn settle(&mut self) -> Result<(), TrainError> {
        match self.state.settle() {
            Some(settled) => self.tell_end(&settled),
            None => Ok(()),
        }
    }

    /// Reports the outcome of the step in flight.
    pub(super) fn tell_end(&mut self, Settled { outcome, at }: &Settled) -> Result<(), TrainError> {
        let Some(step) = self.in_flight.take() else {
            return Ok(());
        };
        let elapsed = at.saturating_duration_since(self.since);
        self.since = *at;
        if let Some(what) = outcome.not_finite() {
            return self.skip(step.number, what, step.suspects(outcome));
        }
        self.rewriting.observe(&step.chosen, &outcome.z);
        let ranks = self.state.ranks();
        let metrics = StepMetrics {
            ranks: (ranks.count() > 1).then(|| RankMetrics {
                count: ranks.count(),
                wait_secs: ranks.take_waited().as_secs_f64(),
                imbalance: step.imbalance,
            }),
            ..step.metrics(outcome, elapsed.as_secs_f64())
        };
        let warnings = self.watch(&metrics);
        self.tell(&Event::Step(metrics))?;
        let (total, records) = (self.prepared.plan.steps, self.prepared.recipe.log.samples);
        if is_recorded(step.number, total, records) {
            let samples = (
                step.ids.as_slice(),
                step.chosen.as_slice(),
                step.supervised.as_slice(),
            );
            self.tell(&Event::Samples(StepSamples::new(step.number, samples, outcome)))?;
        }
        for warning in warnings {
            let step = step.number;
            self.tell(&Event::Warned { step, warning })?;
        }
        Ok(())
    }

    /// Starts the clock of a step, if no step is in flight.
    pub(super) fn begin_time(&mut self) {
        if self.in_flight.is_none() {
            self.since = Instant::now();
        }
    }

    /// Number of steps whose outcome is known.
    pub(super) fn known(&self) -> usize {
        self.done - usize::from(self.in_flight.is_some())
    }
}
