//! What a frozen model says of the tokens of the training data: computed before the first step and kept on disk, or in each step.
//!
//! ```text
//! frozen/kept.rs     values of all samples     frozen/cache.rs   their file in the cache
//! frozen/window.rs   values of the steps of a window, under the model as it was at its beginning (PSFT-1)
//! ```
//!
//! Values of a sample depend on nothing but the sample and the model (`cadft_step::reference`). So kept values are those that a run
//! would compute, and a run that is continued has those of the one that was interrupted.

mod cache;
mod kept;
mod window;

pub(crate) use window::{Window, step_of};

use crate::error::TrainError;
use crate::prepare::Prepared;
use crate::sharing::shared;
use cadft_core::TokenReference;
use cadft_data::Example;
use cadft_model::CausalLm;
use cadft_step::{Ranks, token_values};
use kept::Kept;
use std::borrow::Borrow;
use std::sync::atomic::AtomicBool;

/// What a frozen model says of the tokens of the training data, if the objective asks for it.
pub(crate) enum Frozen {
    /// It does not.
    Unasked,
    /// Of every sample.
    Kept(Kept),
    /// The model, which is asked in each step.
    Live(Box<CausalLm>),
    /// Of the samples of some steps.
    Window(Window),
}

impl Frozen {
    /// As the recipe says; `model` is that of the run before its first step. Interrupted by `stop` there is nothing: the run then
    /// ends before it needs a value.
    ///
    /// # Errors
    /// A reference model that cannot be read, and a chosen directory of the cache that cannot be written to.
    pub(crate) fn of(
        ranks: &Ranks,
        prepared: &Prepared,
        model: &CausalLm,
        stop: &AtomicBool,
    ) -> Result<Self, TrainError> {
        let recipe = &prepared.recipe;
        let Some(wanted) = recipe.objective.token_reference() else {
            return Ok(Self::Unasked);
        };
        if let TokenReference::Renewed { every } = wanted {
            return Ok(Self::Window(Window::new(every, prepared.plan.start_steps)));
        }
        if recipe.reference.live {
            return Ok(Self::Live(Box::new(prepared.frozen(model)?)));
        }
        let kept = Kept::of(ranks, prepared, wanted, model, stop)?;
        Ok(kept.map_or(Self::Unasked, Self::Kept))
    }
}

/// The values of samples, on every rank; each rank computes its share of them.
pub(crate) fn values<E: Borrow<Example>>(
    ranks: &Ranks,
    model: &CausalLm,
    samples: &[E],
    wanted: TokenReference,
) -> Vec<Vec<f32>> {
    let own = (samples.iter().enumerate()).filter(|(number, _)| ranks.has(*number));
    // Bits, because they travel as text.
    let own: Vec<Vec<u32>> = own
        .map(|(_, sample)| {
            let values = token_values(model, sample.borrow(), wanted);
            values.into_iter().map(f32::to_bits).collect()
        })
        .collect();
    let all = shared(ranks, samples.len(), own).into_iter();
    all.map(|bits| bits.into_iter().map(f32::from_bits).collect())
        .collect()
}
