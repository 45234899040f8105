//! One optimizer step: score → standardise → weighted backward → clip and update.
//!
//! ```text
//! 1 score        c_i = (1/|y_i|) Σ_t −log p_{i,t}   no gradient, whole global batch   (CADFT-1)
//! 2 standardise  ĉ_i = (c_i − μ)/(σ + ε)                                              (CADFT-2)
//! 3 backward     Σ_i a_i·w_i Σ_t −sg[g_{i,t}]·log p_{i,t} / normaliser                (OBJ-1, CADFT-3)
//! 4 update       by AdamW or another optimizer, with gradients clipped by their global norm
//! ```
//!
//! `a_i` is the `weight` of the data row. This file does no input or output.
//!
//! The device decides whether a step is finite, and how much its gradient is clipped. The host does not wait for this:
//! it reads the outcome of a step together with the first read of the next step. So a training loop calls [`begin`],
//! [`Begun::update`], [`begin`], … and [`StepState::settle`] at the end. [`step`] does one whole step and waits for it.

mod backward;
mod state;

pub use backward::{Backward, backward};
pub use state::StepState;

use crate::batch::GlobalBatch;
use crate::clip::clipping;
use crate::gradients::GradientSum;
use crate::observe::{InFlight, Observation, Readback, Settled, StepOutcome, TokenValues};
use crate::recompute::Graph;
use crate::sum::LossSum;
use crate::weighing::Weighing;
use cadft_core::{Normalisation, Objective, Reference, RunningMoments, anchor_loss, family_loss};
use cadft_model::{CausalLm, ParamGradients};

/// Settings of one step.
#[derive(Clone, Copy, Debug)]
pub struct StepSettings<'a> {
    /// The objective of this step.
    pub objective: &'a dyn Objective,
    /// The model that the run began with, off the autodiff graph, if the objective requires it.
    pub reference: Option<&'a CausalLm>,
    /// How the loss is normalised.
    pub normalisation: Normalisation,
    /// Learning rate of this step.
    pub lr: f64,
    /// Largest global gradient norm.
    pub clip: f64,
}

/// A step whose gradient is queued on the device, but not its update.
#[must_use = "nothing is updated yet"]
pub struct Begun {
    /// The outcome of the previous step, if it was in flight.
    pub before: Option<Settled>,
    /// Number of reads from the device, for tests.
    pub reads: usize,
    gradients: ParamGradients,
    values: InFlight,
    lr: f64,
}

/// Does one whole step. Returns the updated model, or the unchanged model if the outcome is not finite.
#[must_use]
pub fn step(
    model: CausalLm,
    batch: &GlobalBatch,
    settings: &StepSettings<'_>,
    state: &mut StepState,
) -> (CausalLm, StepOutcome) {
    debug_assert!(
        state.in_flight.is_none(),
        "the outcome of the step in flight would be lost"
    );
    let (model, values) = begin(&model, batch, settings, state).apply(model, state);
    let settled = values.settle(&state.ranks);
    state.take_in(&settled.outcome);
    (model, settled.outcome)
}

/// Parts 1 to 3 of a step. The first read also fetches the outcome of the previous step.
pub fn begin(
    model: &CausalLm,
    batch: &GlobalBatch,
    settings: &StepSettings<'_>,
    state: &mut StepState,
) -> Begun {
    let mut readback = Readback::with(state.in_flight.take(), &state.ranks);
    let (gradients, values) = queue(model, batch, settings, &state.running, &mut readback);
    if let Some(before) = &readback.settled {
        state.take_in(&before.outcome);
    }
    Begun {
        before: readback.settled,
        reads: readback.reads,
        gradients,
        values,
        lr: settings.lr,
    }
}

impl Begun {
    /// Part 4. The step is then in flight: its outcome is read by the next step or by [`StepState::settle`].
    #[must_use]
    pub fn update(self, model: CausalLm, state: &mut StepState) -> CausalLm {
        let (model, values) = self.apply(model, state);
        state.in_flight = Some(values);
        model
    }

    fn apply(self, model: CausalLm, state: &mut StepState) -> (CausalLm, InFlight) {
        let factor = self.values.factor.clone();
        let model = state.optimizer.step(self.lr, model, self.gradients, factor);
        (state.ranks.spread(model), self.values)
    }
}

/// Queues the gradient of the global batch, accumulated over its micro-batches, and the values of its outcome.
fn queue(
    model: &CausalLm,
    batch: &GlobalBatch,
    settings: &StepSettings<'_>,
    running: &RunningMoments,
    readback: &mut Readback,
) -> (ParamGradients, InFlight) {
    let objective = settings.objective;
    let seed = model.dropout_seed();
    let models = (model, settings.reference);
    let mut weighing = Weighing::before(models, batch, objective, running, readback);
    let counts = batch.counts();
    let mut sum = GradientSum::new(model, &batch.shares, readback.ranks());
    let strength = match objective.reference() {
        Some(Reference::Anchor { strength }) => strength,
        _ => 0.0,
    };
    let mut seen = Observation::new(batch, readback.ranks(), strength);
    let mut loss_sum = LossSum::default();
    for micro in &batch.micro {
        batch.seed_dropout(model, micro, seed);
        let forward = || Graph::forward(model, settings.reference, micro, objective);
        let (graph, mut likelihoods) = weighing.kept().unwrap_or_else(forward); // [tokens]
        likelihoods.stats.median_score = weighing.median_score;
        likelihoods.stats.least_excess = weighing.least_excess;
        let gates = objective.token_gates(&likelihoods.stats);
        let values = TokenValues::OnDevice(Box::new(likelihoods.values(gates.clone())));
        let (values, weights) = weighing.weights(micro, batch, values, readback);
        let factors = (micro.samples.iter().zip(&weights))
            .map(|(&sample, weight)| {
                let share = counts.sample_factor(settings.normalisation, batch.supervised[sample]);
                batch.data_weights[sample] * weight * share
            })
            .collect();
        let factors = seen.take(micro, values, weights, factors);
        let mut loss = family_loss(likelihoods.log_probs, gates, factors.clone());
        if let Some(divergence) = likelihoods.divergence {
            loss = loss + anchor_loss(divergence, strength, factors);
        }
        loss_sum.add(&loss);
        sum.add(graph, &loss, micro);
    }
    weighing.finish(batch, readback);
    let gradients = sum.total();
    let loss = loss_sum.total(model);
    let (squares, factor) = clipping(model, &gradients, loss, settings.clip, readback.ranks()); // [parameters], [1]
    (gradients, seen.in_flight(squares, factor, weighing.standardiser))
}
