//! Evaluation within a run.

use super::Trainer;
use crate::checkpoint::Best;
use crate::config::BestBy;
use crate::error::TrainError;
use crate::evaluate::{
    Answers, Evaluation, answer_questions_watched, score_samples_watched, summarise_by_source,
};
use crate::event::Event;
use crate::export::Export;
use crate::warning::Warning;
use burn::module::Module;
use cadft_model::CausalLm;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// Likelihood and answers, if the recipe asks for them.
pub(super) type Evaluated = (Option<Evaluation>, Option<Answers>);

/// Relative increase of the NLL by rounding above which a warning is emitted.
const WORTH_TELLING: f64 = 0.01;

impl Trainer<'_> {
    /// Continues an evaluation unless `stop` is set. With several ranks it always continues, because the ranks must
    /// stay together.
    fn go_on_evaluating(&mut self, event: &Event) -> ControlFlow<()> {
        (self.on_event)(event);
        if self.stop.load(Ordering::Relaxed) && self.state.ranks().count() == 1 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// The likelihood of the evaluation samples; `None` if it was interrupted.
    fn score(&mut self, model: &CausalLm) -> Option<Evaluation> {
        let (prepared, step) = (self.prepared, self.done);
        let (micro, total) = (prepared.recipe.batch.micro, prepared.eval.len());
        let ranks = self.state.ranks().clone();
        let mut flow = ControlFlow::Continue(());
        let watch = |done| {
            flow = self.go_on_evaluating(&Event::Evaluating { step, done, total });
            flow
        };
        let scores = score_samples_watched(ranks, model, &prepared.eval, micro, watch);
        let evaluation = summarise_by_source(scores, &prepared.recipe.data.eval);
        flow.is_continue().then_some(evaluation)
    }

    /// The answers to the questions of the run; `None` if it was interrupted.
    fn answers(&mut self, model: &CausalLm) -> Result<Option<Answers>, TrainError> {
        let (prepared, step) = (self.prepared, self.done);
        let (tokenizer, section) = (&prepared.tokenizer, &prepared.recipe.evaluate);
        let options = section.options(
            prepared.recipe.run.seed,
            tokenizer.stop_token_ids(),
            prepared.config.max_position_embeddings,
        );
        let extract = section.extractor.compile()?;
        let how = (&extract, section.samples);
        let ranks = self.state.ranks().clone();
        let mut flow = ControlFlow::Continue(());
        let mut watch = |tokens| {
            flow = self.go_on_evaluating(&Event::Answering { step, tokens });
            flow
        };
        let answered = answer_questions_watched(
            (&ranks, model),
            tokenizer,
            &prepared.questions,
            &options,
            how,
            &mut watch,
        )?;
        Ok((flow.is_continue()).then(|| {
            Answers::summarise_by_source(&answered, &prepared.questions, &prepared.recipe.data.eval)
        }))
    }

    /// The evaluation before the first step, or the rest of it after an interruption. What is known already is only reported.
    pub(super) fn evaluate_before(&mut self, model: &CausalLm) -> Result<(), TrainError> {
        let model = self.measured(model);
        let known = &self.prepared.before;
        self.evaluation_is_due = false;
        if self.before.evaluation.is_none() {
            self.before.evaluation = match &known.evaluation {
                Some(evaluation) => Some(self.evaluated(evaluation.clone())?),
                None => self.likelihood(&model)?,
            };
        }
        if self.before.answers.is_none() && !self.evaluation_is_due {
            self.before.answers = match &known.answers {
                Some(answers) => Some(self.answered(answers.clone())?),
                None => self.answer(&model)?,
            };
        }
        Ok(())
    }

    /// Evaluates every `evaluate.every` steps. Returns whether the model is the best so far.
    pub(super) fn evaluate_if_due(&mut self, model: &CausalLm) -> Result<bool, TrainError> {
        let recipe = &self.prepared.recipe;
        let every = recipe.evaluate.every;
        if every == 0 || !self.done.is_multiple_of(every) {
            return Ok(false);
        }
        self.settle()?;
        self.evaluation_is_due = false;
        let evaluated = match recipe.checkpoint.best {
            BestBy::Nll => (self.likelihood(&self.measured(model))?, None),
            BestBy::Accuracy => self.evaluate(model)?,
        };
        Ok(self.is_best(&evaluated))
    }

    /// The model to evaluate: before training the initial model, later the model as it would be saved.
    fn measured(&self, model: &CausalLm) -> CausalLm {
        let model = model.valid();
        if self.done == 0 {
            return model;
        }
        Export::new(self.prepared).as_saved(model)
    }

    /// Likelihood and answers. If it is interrupted, it reports nothing, and is repeated when the run continues.
    pub(super) fn evaluate(&mut self, model: &CausalLm) -> Result<Evaluated, TrainError> {
        let model = self.measured(model);
        self.evaluation_is_due = false;
        let evaluation = self.likelihood(&model)?;
        if self.evaluation_is_due {
            return Ok((None, None));
        }
        Ok((evaluation, self.answer(&model)?))
    }

    fn answer(&mut self, model: &CausalLm) -> Result<Option<Answers>, TrainError> {
        if self.prepared.questions.is_empty() {
            return Ok(None);
        }
        let Some(answers) = self.answers(model)? else {
            self.evaluation_is_due = true;
            return Ok(None);
        };
        self.answered(answers).map(Some)
    }

    fn answered(&mut self, answers: Answers) -> Result<Answers, TrainError> {
        self.tell(&Event::Answered {
            step: self.done,
            answers: answers.clone(),
        })?;
        Ok(answers)
    }

    fn likelihood(&mut self, model: &CausalLm) -> Result<Option<Evaluation>, TrainError> {
        if self.prepared.eval.is_empty() {
            return Ok(None);
        }
        let Some(evaluation) = self.score(model) else {
            self.evaluation_is_due = true;
            return Ok(None);
        };
        self.evaluated(evaluation).map(Some)
    }

    fn evaluated(&mut self, evaluation: Evaluation) -> Result<Evaluation, TrainError> {
        self.tell(&Event::Evaluated {
            step: self.done,
            evaluation: evaluation.clone(),
        })?;
        Ok(evaluation)
    }

    /// Warns if saving the model in the recipe's number format increases the NLL noticeably.
    pub(super) fn tell_rounding(
        &mut self,
        model: &CausalLm,
        saved: Option<&Evaluation>,
    ) -> Result<(), TrainError> {
        let rounds_to = Export::new(self.prepared).rounds_to();
        let (Some(dtype), Some(saved)) = (rounds_to, saved) else {
            return Ok(());
        };
        let Some(exact) = self.score(&model.valid()) else {
            return Ok(());
        };
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

    /// Whether an evaluation is better than all earlier ones; records it if so.
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
