//! Evaluation within a run.

use super::Trainer;
use crate::checkpoint::Best;
use crate::config::BestBy;
use crate::error::TrainError;
use crate::evaluate::{Answers, Evaluation, answers_of_run, score_samples, summarise};
use crate::event::Event;
use burn::module::Module;
use cadft_model::CausalLm;

/// Likelihood and answers, where the recipe asks for them.
pub(super) type Evaluated = (Option<Evaluation>, Option<Answers>);

impl Trainer<'_> {
    /// Evaluates every `evaluate.every` steps; whether the model is the best so far.
    pub(super) fn evaluate_if_due(&mut self, model: &CausalLm) -> Result<bool, TrainError> {
        let recipe = &self.prepared.recipe;
        let every = recipe.evaluate.every;
        if every == 0 || !self.done.is_multiple_of(every) {
            return Ok(false);
        }
        self.settle()?;
        let evaluated = match recipe.checkpoint.best {
            BestBy::Nll => (self.likelihood(model)?, None),
            BestBy::Accuracy => self.evaluate(model)?,
        };
        Ok(self.is_best(&evaluated))
    }

    pub(super) fn evaluate(&mut self, model: &CausalLm) -> Result<Evaluated, TrainError> {
        let evaluation = self.likelihood(model)?;
        let prepared = self.prepared;
        if prepared.questions.is_empty() {
            return Ok((evaluation, None));
        }
        let answers = answers_of_run(prepared, &model.valid())?;
        self.tell(&Event::Answered {
            step: self.done,
            answers: answers.clone(),
        })?;
        Ok((evaluation, Some(answers)))
    }

    fn likelihood(&mut self, model: &CausalLm) -> Result<Option<Evaluation>, TrainError> {
        let prepared = self.prepared;
        if prepared.eval.is_empty() {
            return Ok(None);
        }
        let micro = prepared.recipe.batch.micro;
        let evaluation = summarise(score_samples(&model.valid(), &prepared.eval, micro));
        self.tell(&Event::Evaluated {
            step: self.done,
            evaluation: evaluation.clone(),
        })?;
        Ok(Some(evaluation))
    }

    /// Whether an evaluation after a step is better than all before it; remembers it if so.
    pub(super) fn is_best(&mut self, evaluated: &Evaluated) -> bool {
        let value = match self.prepared.recipe.checkpoint.best {
            BestBy::Nll => evaluated.0.as_ref().map(|evaluation| evaluation.nll),
            BestBy::Accuracy => evaluated.1.as_ref().map(|answers| answers.accuracy),
        };
        let Some(value) = value.filter(|value| value.is_finite()) else {
            return false;
        };
        let is_better = self
            .best
            .is_none_or(|best| match self.prepared.recipe.checkpoint.best {
                BestBy::Nll => value < best.value,
                BestBy::Accuracy => value > best.value,
            });
        if is_better {
            let step = self.done;
            self.best = Some(Best { step, value });
        }
        is_better
    }
}
