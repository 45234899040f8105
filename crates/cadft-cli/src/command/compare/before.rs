//! The evaluation before training, which runs of the same model and seed share.

use super::matrix::Job;
use cadft_train::checkpoint::Before;
use cadft_train::{Recipe, Summary};

/// The last evaluation before training, and the recipe that it is of.
#[derive(Default)]
pub(super) struct Known(Option<(Recipe, Before)>);

impl Known {
    /// The evaluation before a run, if the last one that was made is the same.
    pub(super) fn of(&self, job: &Job) -> Before {
        let own = evaluated(&job.recipe);
        let same = self.0.as_ref().filter(|(recipe, _)| *recipe == own);
        same.map_or_else(Before::default, |(_, before)| before.clone())
    }

    /// Keeps the evaluation before a run.
    pub(super) fn keep(&mut self, job: &Job, summary: &Summary) {
        let before = Before {
            evaluation: summary.evaluation.as_ref().map(|[before, _]| before.clone()),
            answers: summary.answers.as_ref().map(|[before, _]| before.clone()),
        };
        self.0 = Some((evaluated(&job.recipe), before));
    }
}

/// The part of a recipe that an evaluation before training depends on; the rest is as by default.
fn evaluated(recipe: &Recipe) -> Recipe {
    let Recipe {
        objective,
        reference,
        loss,
        optimizer,
        schedule,
        rewrite,
        checkpoint,
        log,
        guard,
        ..
    } = Recipe::default();
    let mut own = Recipe {
        objective,
        reference,
        loss,
        optimizer,
        schedule,
        rewrite,
        checkpoint,
        log,
        guard,
        ..recipe.clone()
    };
    own.data.train.clear();
    own.run.out = None;
    own
}
