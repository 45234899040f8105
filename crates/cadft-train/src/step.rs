//! One optimizer step: score → standardise → weighted backward → clip → update.
//!
//! ```text
//! 1 score        c_i = (1/|y_i|) Σ_t −log p_{i,t}   no gradient, whole global batch   (CADFT-1)
//! 2 standardise  ĉ_i = (c_i − μ)/(σ + ε)                                              (CADFT-2)
//! 3 backward     Σ_i a_i·w_i Σ_t −sg[g_{i,t}]·log p_{i,t} / normaliser                (OBJ-1, CADFT-3)
//! 4 clip         by the norm of all gradients together
//! 5 update       AdamW
//! ```
//!
//! `a_i` is the `weight` of the data row. Pure: no input or output, no console.

use crate::batch::GlobalBatch;
use crate::clip::{clip, squares};
use crate::observe::{Observation, StepOutcome, TokenValues};
use crate::optimizer::AdamW;
use crate::readback::Readback;
use crate::recompute::Graph;
use crate::weighing::Weighing;
use burn::optim::{GradientsAccumulator, GradientsParams};
use cadft_core::{AnyObjective, Normalisation, Objective, RunningMoments, family_loss};
use cadft_model::CausalLm;

/// What changes from step to step besides the model.
pub struct StepState {
    /// The optimizer and its moments.
    pub optimizer: AdamW,
    /// Statistics of earlier global batches.
    pub running: RunningMoments,
}

/// What a step is to do.
#[derive(Clone, Copy, Debug)]
pub struct StepSettings<'a> {
    /// The objective of this step.
    pub objective: &'a AnyObjective,
    /// The denominator of its loss.
    pub normalisation: Normalisation,
    /// Learning rate of this step.
    pub lr: f64,
    /// Largest global gradient norm.
    pub clip: f64,
}

/// The gradient of a global batch and what was seen on the way.
pub struct Backward {
    /// Gradients of the whole global batch, before clipping.
    pub gradients: GradientsParams,
    /// Values of the whole global batch, before the update.
    pub outcome: StepOutcome,
    /// How often the host waited for the device.
    pub reads: usize,
}

/// One step. The model comes back updated; where the outcome is not finite, it comes back as it was.
#[must_use]
pub fn step(
    model: CausalLm,
    batch: &GlobalBatch,
    settings: &StepSettings<'_>,
    state: &mut StepState,
) -> (CausalLm, StepOutcome) {
    let Backward {
        gradients, outcome, ..
    } = backward(&model, batch, settings, &state.running);
    if outcome.not_finite().is_some() {
        return (model, outcome);
    }
    state.running.update(&outcome.scores.iter().copied().collect());
    let gradients = clip(&model, gradients, outcome.grad_norm, settings.clip);
    (state.optimizer.step(settings.lr, model, gradients), outcome)
}

/// Parts 1 to 3: the gradient of the global batch, accumulated over its micro-batches.
#[must_use]
pub fn backward(
    model: &CausalLm,
    batch: &GlobalBatch,
    settings: &StepSettings<'_>,
    running: &RunningMoments,
) -> Backward {
    let objective = settings.objective;
    let mut readback = Readback::default();
    let weighing = Weighing::before(model, batch, objective, running, &mut readback);
    let counts = batch.counts();
    let mut gradients = GradientsAccumulator::new();
    let mut seen = Observation::new(batch.ids.len());
    for micro in &batch.micro {
        let (graph, log_probs, stats) = Graph::forward(model, micro, objective); // [tokens]
        let gates = objective.token_gates(&stats);
        let values = TokenValues::new(stats.log_probs, gates.clone());
        let (values, weights) = weighing.weights(micro, values, &mut readback);
        let factors = (micro.samples.iter().zip(&weights))
            .map(|(&sample, weight)| {
                let share = counts.sample_factor(settings.normalisation, batch.supervised[sample]);
                batch.data_weights[sample] * weight * share
            })
            .collect();
        let factors = seen.take(micro, values, &weights, factors);
        let loss = family_loss(log_probs, gates, factors);
        graph.backward(&loss, model, &mut gradients);
    }
    let gradients = gradients.grads();
    let squares = squares(model, &gradients);
    Backward {
        outcome: seen.read(squares, weighing.standardiser, &mut readback),
        gradients,
        reads: readback.reads,
    }
}
