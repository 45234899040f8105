//! The evaluation before training, which runs of the same model and seed share.

use cadft_train::evaluate::Before;
use cadft_train::{Prepared, Recipe, Summary};

/// The last evaluation before training, with what it was of.
#[derive(Default)]
pub(super) struct Known(Option<(Evaluated, Before)>);

/// What an evaluation before training depends on.
#[derive(PartialEq)]
struct Evaluated {
    recipe: Recipe,
    /// Of the samples, the questions and the model.
    digest: String,
}

impl Evaluated {
    fn of(prepared: &Prepared) -> Self {
        Self {
            recipe: evaluated(&prepared.recipe),
            digest: prepared.evaluation_digest(),
        }
    }
}

impl Known {
    /// The evaluation before a run whose model is read, if the last one that was made is the same.
    pub(super) fn of(&self, prepared: &Prepared) -> Before {
        let own = Evaluated::of(prepared);
        let same = self.0.as_ref().filter(|(known, _)| *known == own);
        same.map_or_else(Before::default, |(_, before)| before.clone())
    }

    /// Keeps the evaluation before a run.
    pub(super) fn keep(&mut self, prepared: &Prepared, summary: &Summary) {
        let before = Before {
            evaluation: summary.evaluation.as_ref().map(|[before, _]| before.clone()),
            answers: summary.answers.as_ref().map(|[before, _]| before.clone()),
        };
        self.0 = Some((Evaluated::of(prepared), before));
    }
}

/// The part of a recipe that an evaluation before training depends on; the rest is as by default.
fn evaluated(recipe: &Recipe) -> Recipe {
    let default = Recipe::default();
    let mut own = recipe.clone();
    own.objective = default.objective;
    own.reference = default.reference;
    own.loss = default.loss;
    own.optimizer = default.optimizer;
    own.schedule = default.schedule;
    own.rewrite = default.rewrite;
    own.checkpoint = default.checkpoint;
    own.log = default.log;
    own.guard = default.guard;
    own.data.train.clear();
    own.run.out = None;
    own
}
