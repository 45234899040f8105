//! Evaluation within a run.

use super::Trainer;
use crate::checkpoint::Best;
use crate::config::BestBy;
use crate::error::TrainError;
use crate::evaluate::{Answers, Evaluation, answer_questions_on, score_samples_on, summarise};
use crate::event::Event;
use crate::export::Export;
use crate::prepare::Prepared;
use crate::warning::Warning;
use burn::module::Module;
use cadft_model::CausalLm;
use cadft_step::Ranks;

/// Likelihood and answers, where the recipe asks for them.
pub(super) type Evaluated = (Option<Evaluation>, Option<Answers>);

/// The part of the NLL that rounding may add without a word.
const WORTH_TELLING: f64 = 0.01;

/// The likelihood of the evaluation samples.
fn score(ranks: &Ranks, prepared: &Prepared, model: &CausalLm) -> Evaluation {
    let micro = prepared.recipe.batch.micro;
    summarise(score_samples_on(ranks.clone(), model, &prepared.eval, micro))
}

/// The answers to the questions of a run, as its recipe wants them; `model` off the autodiff graph.
fn answers(ranks: &Ranks, prepared: &Prepared, model: &CausalLm) -> Result<Answers, TrainError> {
    let (tokenizer, section) = (&prepared.tokenizer, &prepared.recipe.evaluate);
    let options = section.options(
        prepared.recipe.run.seed,
        tokenizer.stop_token_ids(),
        prepared.config.max_position_embeddings,
    );
    let extract = section.extractor.compile()?;
    let how = (&extract, section.samples);
    let answered = answer_questions_on(ranks, model, tokenizer, &prepared.questions, &options, how)?;
    Ok(Answers::summarise(&answered))
}

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
            BestBy::Nll => (self.likelihood(&self.measured(model))?, None),
            BestBy::Accuracy => self.evaluate(model)?,
        };
        Ok(self.is_best(&evaluated))
    }

    /// The model that is measured: before training the one that it begins with, later the one that others will read.
    fn measured(&self, model: &CausalLm) -> CausalLm {
        let model = model.valid();
        if self.done == 0 {
            return model;
        }
        Export::new(self.prepared).as_saved(model)
    }

    pub(super) fn evaluate(&mut self, model: &CausalLm) -> Result<Evaluated, TrainError> {
        let model = self.measured(model);
        let evaluation = self.likelihood(&model)?;
        let prepared = self.prepared;
        if prepared.questions.is_empty() {
            return Ok((evaluation, None));
        }
        let answers = answers(&self.state.ranks, prepared, &model)?;
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
        let evaluation = score(&self.state.ranks, prepared, model);
        self.tell(&Event::Evaluated {
            step: self.done,
            evaluation: evaluation.clone(),
        })?;
        Ok(Some(evaluation))
    }

    /// Reports what it costs to save the model in the number format of the recipe, where that is much.
    pub(super) fn tell_rounding(
        &mut self,
        model: &CausalLm,
        saved: Option<&Evaluation>,
    ) -> Result<(), TrainError> {
        let rounds_to = Export::new(self.prepared).rounds_to();
        let (Some(dtype), Some(saved)) = (rounds_to, saved) else {
            return Ok(());
        };
        let exact = score(&self.state.ranks, self.prepared, &model.valid());
        if saved.nll <= (1.0 + WORTH_TELLING) * exact.nll {
            return Ok(());
        }
        let warning = Warning::new(
            format!(
                "rounding the model to {} costs likelihood: NLL {:.4} as it is saved, {:.4} as it was trained",
                dtype.torch_name(),
                saved.nll,
                exact.nll
            ),
            "save it with `checkpoint.dtype = \"f32\"`: the last checkpoint still has the weights in f32",
        );
        let step = self.done;
        self.tell(&Event::Warned { step, warning })
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
