//! The gradient of a global batch without an update.

use super::{StepSettings, queue};
use crate::batch::GlobalBatch;
use crate::observe::{Readback, StepOutcome};
use crate::ranks::Ranks;
use cadft_core::RunningMoments;
use cadft_model::CausalLm;
use cadft_model::ParamGradients;

/// The gradient of a global batch, and the values of the step.
pub struct Backward {
    /// Gradients of the whole global batch, before clipping.
    pub gradients: ParamGradients,
    /// Values of the whole global batch, before the update.
    pub outcome: StepOutcome,
}

/// Parts 1 to 3 of a step, without an update. Waits for the outcome.
#[must_use]
pub fn backward(
    model: &CausalLm,
    batch: &GlobalBatch,
    settings: &StepSettings<'_>,
    running: &RunningMoments,
) -> Backward {
    let (gradients, values) = queue(model, batch, settings, running, &mut Readback::default());
    Backward {
        outcome: values.settle(&Ranks::solo()).outcome,
        gradients,
    }
}
