//! The loop around the step: evaluate, train, save, tell.

use crate::batch::{GlobalBatch, Sampler};
use crate::error::TrainError;
use crate::evaluate::{Answers, Evaluation, answers_of_run, score_samples, summarise};
use crate::event::{Event, StepMetrics, Summary};
use crate::observe::StepOutcome;
use crate::optimizer::AdamW;
use crate::plan::Warning;
use crate::prepare::Prepared;
use crate::process::peak_rss_mib;
use crate::rewrite::Rewriting;
use crate::run_directory::RunDirectory;
use crate::samples::{StepSamples, is_recorded};
use crate::schedule::Schedule;
use crate::step::{StepSettings, StepState, step};
use burn::module::Module;
use cadft_core::compatibility::effective_sample_size;
use cadft_core::reduction::mean;
use cadft_core::{AnyObjective, Objective, RunningMoments};
use cadft_data::Example;
use cadft_model::CausalLm;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Consecutive steps after the warm-up with a mean gate below [`LOW_GATE`] before a user is told.
const LOW_GATE_STEPS: usize = 10;
/// A mean gate below this leaves little of the gradient.
const LOW_GATE: f64 = 0.2;

/// Receives everything a run has to tell.
pub type OnEvent<'a> = dyn FnMut(&Event) + 'a;

/// Trains the model of a prepared run ([`Prepared::model`]) to its end, or until `stop` is set, and saves it.
///
/// # Errors
/// A loss or gradient that is not a number, and whatever goes wrong with a file.
pub fn train(
    prepared: &Prepared,
    model: CausalLm,
    directory: &mut RunDirectory,
    stop: &AtomicBool,
    on_event: &mut OnEvent<'_>,
) -> Result<Summary, TrainError> {
    let mut trainer = Trainer::new(prepared, &model, directory, on_event);
    trainer.run(model, stop)
}

struct Trainer<'a> {
    prepared: &'a Prepared,
    schedule: Schedule,
    sampler: Sampler,
    state: StepState,
    low_gates: usize,
    rewriting: Rewriting,
    directory: &'a mut RunDirectory,
    on_event: &'a mut OnEvent<'a>,
}

impl<'a> Trainer<'a> {
    fn new(
        prepared: &'a Prepared,
        model: &CausalLm,
        directory: &'a mut RunDirectory,
        on_event: &'a mut OnEvent<'_>,
    ) -> Self {
        let recipe = &prepared.recipe;
        let decay = recipe
            .objective
            .compatibility()
            .map_or(0.99, |c| c.statistics_decay);
        let (samples, global) = (prepared.train.len(), recipe.batch.global);
        Self {
            prepared,
            schedule: Schedule::new(&recipe.schedule, recipe.optimizer.lr, prepared.plan.steps),
            sampler: Sampler::new(samples, global, recipe.data.order, recipe.run.seed),
            state: StepState {
                optimizer: AdamW::new(&recipe.optimizer, model),
                running: RunningMoments::new(decay),
            },
            low_gates: 0,
            rewriting: Rewriting::new(prepared, directory.path()),
            directory,
            on_event,
        }
    }

    fn run(&mut self, mut model: CausalLm, stop: &AtomicBool) -> Result<Summary, TrainError> {
        let started = Instant::now();
        let recipe = &self.prepared.recipe;
        let plan = self.prepared.plan.clone();
        let total = plan.steps;
        for warning in plan.warnings.clone() {
            self.tell(&Event::Warned { step: 0, warning })?;
        }
        self.tell(&Event::Started { plan })?;
        let before = self.evaluate(&model, 0)?;
        let mut done = 0;
        while done < total && !stop.load(Ordering::Relaxed) {
            for event in self.rewriting.round_after(done, self.prepared, &model, stop)? {
                self.tell(&event)?;
            }
            if self.rewriting.is_due(done) {
                // Stopped before the end of the round: it takes place when the run goes on.
                break;
            }
            model = self.step(model, done + 1)?;
            done += 1;
            let due = |every: usize| every > 0 && done.is_multiple_of(every) && done < total;
            if due(recipe.evaluate.every) {
                self.likelihood(&model, done)?;
            }
            if due(recipe.checkpoint.every) {
                let path = self.directory.save_checkpoint(done, &model, self.prepared)?;
                self.tell(&Event::Saved { step: done, path })?;
            }
        }
        let path = self.directory.save_model(&model, self.prepared)?;
        self.tell(&Event::Saved {
            step: done,
            path: path.clone(),
        })?;
        self.rewriting.finish(&self.prepared.train)?;
        let interrupted = done < total;
        let after = if interrupted {
            (None, None)
        } else {
            self.evaluate(&model, done)?
        };
        let summary = Summary {
            steps: done,
            interrupted,
            model: path,
            evaluation: before.0.zip(after.0).map(<[_; 2]>::from),
            answers: before.1.zip(after.1).map(<[_; 2]>::from),
            elapsed_secs: started.elapsed().as_secs_f64(),
        };
        self.tell(&Event::Finished(summary.clone()))?;
        Ok(summary)
    }

    fn step(&mut self, model: CausalLm, number: usize) -> Result<CausalLm, TrainError> {
        let started = Instant::now();
        let prepared = self.prepared;
        let recipe = &prepared.recipe;
        let chosen = self.sampler.samples_of(number);
        let samples: Vec<Example> = (chosen.iter())
            .map(|&sample| self.rewriting.example(sample, &prepared.train))
            .collect();
        let samples: Vec<&Example> = samples.iter().collect();
        let pad_id = prepared.tokenizer.pad_token_id();
        let batch = GlobalBatch::new(&samples, &recipe.batch, pad_id, &model.device());
        let objective = self.objective(number);
        let settings = StepSettings {
            objective,
            normalisation: recipe.loss.normalisation,
            lr: self.schedule.at(number),
            clip: recipe.optimizer.clip,
        };
        model.seed_dropout(dropout_seed(recipe.run.seed, number));
        let (model, outcome) = step(model, &batch, &settings, &mut self.state);
        if let Some(what) = outcome.not_finite() {
            return Err(TrainError::NotFinite {
                step: number,
                what,
                samples: suspects(&batch, &outcome),
            });
        }
        self.rewriting.observe(&chosen, &outcome.z);
        let elapsed_secs = started.elapsed().as_secs_f64();
        let metrics = step_metrics(
            number,
            objective.name(),
            settings.lr,
            &batch,
            &outcome,
            elapsed_secs,
        );
        let warning = self.low_gate(&metrics);
        self.tell(&Event::Step(metrics))?;
        if is_recorded(number, prepared.plan.steps, recipe.log.samples) {
            self.tell(&Event::Samples(StepSamples::new(number, &batch.ids, &outcome)))?;
        }
        if let Some(warning) = warning {
            self.tell(&Event::Warned {
                step: number,
                warning,
            })?;
        }
        Ok(model)
    }

    /// The objective of a step: `loss.start` for its share of the run, then the recipe's.
    fn objective(&self, number: usize) -> &'a AnyObjective {
        let recipe = &self.prepared.recipe;
        match &recipe.loss.start {
            Some(start) if number <= self.prepared.plan.start_steps => start,
            _ => &recipe.objective,
        }
    }

    /// Tells once, when the mean gate stays low after the warm-up and the start objective.
    fn low_gate(&mut self, metrics: &StepMetrics) -> Option<Warning> {
        let plan = &self.prepared.plan;
        let settled = metrics.step > plan.warmup_steps.max(plan.start_steps);
        if !settled || metrics.mean_gate >= LOW_GATE {
            self.low_gates = 0;
            return None;
        }
        self.low_gates += 1;
        (self.low_gates == LOW_GATE_STEPS).then(|| {
            Warning::new(
                format!(
                    "the mean token gate has stayed below {LOW_GATE} for {LOW_GATE_STEPS} steps ({:.3} now): the \
                     model gives these targets little probability, and the objective hardly trains on them",
                    metrics.mean_gate
                ),
                "begin with NLL (`loss.start = \"nll\"`, `loss.start-until = 0.1`), or keep the sample weights without \
                 the token gate (`objective.cadft.gate = \"nll\"`)",
            )
        })
    }

    fn evaluate(
        &mut self,
        model: &CausalLm,
        done: usize,
    ) -> Result<(Option<Evaluation>, Option<Answers>), TrainError> {
        let evaluation = self.likelihood(model, done)?;
        let prepared = self.prepared;
        if prepared.questions.is_empty() {
            return Ok((evaluation, None));
        }
        let answers = answers_of_run(prepared, &model.valid())?;
        self.tell(&Event::Answered {
            step: done,
            answers: answers.clone(),
        })?;
        Ok((evaluation, Some(answers)))
    }

    fn likelihood(&mut self, model: &CausalLm, done: usize) -> Result<Option<Evaluation>, TrainError> {
        let prepared = self.prepared;
        if prepared.eval.is_empty() {
            return Ok(None);
        }
        let pad_id = prepared.tokenizer.pad_token_id();
        let micro = prepared.recipe.batch.micro;
        let evaluation = summarise(&score_samples(&model.valid(), &prepared.eval, micro, pad_id));
        self.tell(&Event::Evaluated {
            step: done,
            evaluation: evaluation.clone(),
        })?;
        Ok(Some(evaluation))
    }

    fn tell(&mut self, event: &Event) -> Result<(), TrainError> {
        tracing::debug!(?event);
        self.directory.record(event)?;
        (self.on_event)(event);
        Ok(())
    }
}

/// A seed of its own for every step, so that a run goes on with the same masks wherever it is resumed.
fn dropout_seed(seed: u64, step: usize) -> u64 {
    // The multiplier of a Weyl sequence keeps the ranges of steps apart; a step draws from far fewer passes.
    seed.wrapping_add((step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Ids of the samples whose own score is not a number; of all of them where every score is.
fn suspects(batch: &GlobalBatch, outcome: &StepOutcome) -> Vec<String> {
    let bad: Vec<String> = (batch.ids.iter().zip(&outcome.scores))
        .filter(|(_, score)| !score.is_finite())
        .map(|(id, _)| id.clone())
        .collect();
    if bad.is_empty() { batch.ids.clone() } else { bad }
}

fn step_metrics(
    step: usize,
    objective: &'static str,
    lr: f64,
    batch: &GlobalBatch,
    outcome: &StepOutcome,
    elapsed_secs: f64,
) -> StepMetrics {
    let counts = batch.counts();
    StepMetrics {
        step,
        loss: outcome.loss,
        nll: mean(outcome.nll_sum, counts.supervised),
        objective,
        mean_gate: mean(outcome.gate_sum, counts.supervised),
        mean_weight: mean(outcome.weights.iter().sum(), counts.samples),
        ess: effective_sample_size(&outcome.weights),
        mu: outcome.standardiser.mean,
        sigma: outcome.standardiser.std,
        max_z: outcome.z.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        grad_norm: outcome.grad_norm,
        lr,
        tokens: batch.tokens,
        supervised: counts.supervised,
        tokens_per_sec: batch.tokens as f64 / elapsed_secs,
        peak_rss_mib: peak_rss_mib(),
    }
}
