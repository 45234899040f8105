//! Monitors the metrics of a run.

use super::Trainer;
use crate::error::TrainError;
use crate::event::{Event, StepMetrics};
use crate::warning::Warning;

/// Number of consecutive steps with a mean gate below [`LOW_GATE`], after the warm-up, that cause a warning.
const LOW_GATE_STEPS: usize = 10;
/// Below this mean gate, little of the gradient remains.
const LOW_GATE: f64 = 0.2;
/// Number of steps before the moving average of the gradient norm is used.
const NORM_STEPS: usize = 20;
/// Decay of that average.
const NORM_DECAY: f64 = 0.95;

impl Trainer<'_> {
    /// Counts and reports a step without an update; ends the run after `guard.non-finite` in a row.
    pub(super) fn skip(
        &mut self,
        step: usize,
        what: &'static str,
        samples: Vec<String>,
    ) -> Result<(), TrainError> {
        self.guard.skipped += 1;
        self.guard.skipped_in_a_row += 1;
        let in_a_row = self.guard.skipped_in_a_row;
        self.tell(&Event::Skipped {
            step,
            what,
            samples: samples.clone(),
            in_a_row,
        })?;
        if in_a_row < self.prepared.recipe.guard.non_finite {
            return Ok(());
        }
        Err(TrainError::NotFinite {
            step,
            in_a_row,
            what,
            samples,
        })
    }

    /// Warnings about a step that was done.
    pub(super) fn watch(&mut self, metrics: &StepMetrics) -> Vec<Warning> {
        self.guard.skipped_in_a_row = 0;
        self.low_gate(metrics)
            .into_iter()
            .chain(self.spike(metrics))
            .collect()
    }

    /// Warns once, if the mean gate stays low after the warm-up and the start objective.
    fn low_gate(&mut self, metrics: &StepMetrics) -> Option<Warning> {
        let plan = &self.prepared.plan;
        let settled = metrics.step > plan.warmup_steps.max(plan.start_steps);
        let is_low_by_design = !self.prepared.recipe.objective.low_gate_means_unlikely();
        if !settled || is_low_by_design || metrics.mean_gate >= LOW_GATE {
            self.guard.low_gates = 0;
            return None;
        }
        self.guard.low_gates += 1;
        (self.guard.low_gates == LOW_GATE_STEPS).then(|| {
            Warning::new(
                format!(
                    "the mean token gate has stayed below {LOW_GATE} for {LOW_GATE_STEPS} steps ({:.3} now): the \
                     model gives these targets little probability, and the objective hardly trains on them",
                    metrics.mean_gate
                ),
                "begin with NLL (`loss.start = \"nll\"`, `loss.start-until = 0.1`), or keep the sample weights without \
                 the token gate (`objective.cadft.gate = \"nll\"`)",
            )
        })
    }

    /// Warns if the gradient norm is far above its moving average. A spike does not enter the average.
    fn spike(&mut self, metrics: &StepMetrics) -> Option<Warning> {
        let (factor, norm) = (self.prepared.recipe.guard.spike, metrics.grad_norm);
        let guard = &mut self.guard;
        let average = guard.norm;
        let is_spike = factor > 0.0 && guard.norms >= NORM_STEPS && norm > factor * average;
        if is_spike {
            return Some(Warning::new(
                format!(
                    "step {}: the gradient norm is {norm:.3}, {:.0} times its average of {average:.3}",
                    metrics.step,
                    norm / average
                ),
                "clipping bounds what it does; if it comes again, lower `optimizer.lr` or look at the data of this step",
            ));
        }
        guard.norm = if guard.norms == 0 {
            norm
        } else {
            NORM_DECAY * average + (1.0 - NORM_DECAY) * norm
        };
        guard.norms += 1;
        None
    }
}
