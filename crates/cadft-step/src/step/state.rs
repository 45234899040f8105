//! What a training loop keeps from one step to the next, besides the model.

use crate::observe::{InFlight, Settled, StepOutcome};
use crate::optimizer::Optimizer;
use crate::ranks::Ranks;
use burn::module::Module;
use cadft_core::RunningMoments;

/// The state that changes from step to step, besides the model. It is complete if no step is in flight
/// ([`StepState::settle`]).
pub struct StepState {
    /// The optimizer and its moments.
    pub optimizer: Optimizer,
    /// Statistics of the global batches before the step in flight.
    pub running: RunningMoments,
    /// The ranks that compute the step together.
    pub(crate) ranks: Ranks,
    /// The step whose update is queued and whose outcome has not been read yet.
    pub(super) in_flight: Option<InFlight>,
}

impl StepState {
    /// The state of a run on one rank, with no step in flight.
    #[must_use]
    pub fn new(optimizer: Optimizer, running: RunningMoments) -> Self {
        Self {
            optimizer,
            running,
            ranks: Ranks::solo(),
            in_flight: None,
        }
    }

    /// Sets the ranks that share the steps, before the first step. Each rank then keeps the moments of what it owns of
    /// `model`.
    pub fn share<M: Module>(&mut self, ranks: &Ranks, model: &M) {
        self.optimizer.own(ranks.own_rows(model));
        self.ranks = ranks.clone();
    }

    /// The ranks that compute the steps together.
    #[must_use]
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Waits for the step in flight, if there is one. Returns its outcome.
    pub fn settle(&mut self) -> Option<Settled> {
        let settled = self.in_flight.take()?.settle(&self.ranks);
        self.take_in(&settled.outcome);
        Some(settled)
    }

    /// Updates the state with the outcome of a step.
    pub(super) fn take_in(&mut self, outcome: &StepOutcome) {
        if outcome.not_finite().is_some() {
            self.optimizer.left_out();
        }
        outcome.add_to(&mut self.running);
    }
}
