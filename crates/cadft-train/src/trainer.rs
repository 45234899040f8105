//! The loop around the step: evaluates, trains, saves and reports.
//!
//! One step is in flight while the next one begins (`step.rs`). Its outcome is read and reported during the next step,
//! before that step's update. If something depends on the outcome earlier (an evaluation, a checkpoint, a round of
//! rewriting, the end of the run), the loop waits for it (`settle`).

mod evaluation;
mod exhausted;
mod frozen;
mod guards;
mod saving;
mod settling;

use crate::checkpoint::saver::Saver;
use crate::checkpoint::{Best, DataDigests, GuardState};
use crate::error::TrainError;
use crate::evaluate::Before;
use crate::event::{Event, Summary};
use crate::exhausted::caught;
use crate::frozen::Frozen;
use crate::prepare::Prepared;
use crate::resume::Comparison;
use crate::rewrite::Rewriting;
use crate::run_directory::{Resumption, RunDirectory};
use crate::warning::Warning;
use cadft_core::{Objective, RunningMoments};
use cadft_data::Example;
use cadft_model::CausalLm;
use cadft_step::Ranks;
use cadft_step::batch::{GlobalBatch, Sampler};
use cadft_step::optimizer::Optimizer;
use cadft_step::schedule::Schedule;
use cadft_step::step::{self, StepSettings, StepState};
use settling::StepInFlight;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Receives the events of a run.
pub type OnEvent<'a> = dyn FnMut(&Event) + 'a;

/// Trains the model of a prepared run ([`Prepared::model`]) to its end, or until `stop` is set, and saves it.
///
/// If `directory` was opened with [`RunDirectory::resume`], the run continues from its checkpoint. Its results equal
/// those of an uninterrupted run.
///
/// # Errors
/// Losses or gradients that remain not finite; a checkpoint that does not fit the model; [`TrainError::Exhausted`] if
/// the device runs out of memory; file errors.
pub fn train(
    prepared: &Prepared,
    model: CausalLm,
    directory: &mut RunDirectory,
    stop: &AtomicBool,
    on_event: &mut OnEvent<'_>,
) -> Result<Summary, TrainError> {
    train_on(&Ranks::solo(), prepared, model, directory, stop, on_event)
}

/// Trains as [`train`], as one of several ranks, all of which make this call. The files are written to the `directory`
/// of the first rank.
///
/// # Errors
/// As [`train`]; also if the number of shards cannot be distributed among the ranks.
pub fn train_on(
    ranks: &Ranks,
    prepared: &Prepared,
    model: CausalLm,
    directory: &mut RunDirectory,
    stop: &AtomicBool,
    on_event: &mut OnEvent<'_>,
) -> Result<Summary, TrainError> {
    prepared.recipe.batch.check_ranks(ranks.count())?;
    let restored = directory.take_restored();
    let ranks = &ranks.clone().with_sharing(prepared.recipe.batch.sharing());
    let mut trainer = Trainer::new(ranks, prepared, directory, stop, on_event);
    trainer.state.share(ranks, &model);
    trainer.reference = prepared
        .recipe
        .looks_at_reference()
        .then(|| prepared.reference(&model));
    let ended = caught(|| {
        trainer.frozen = Frozen::of(ranks, prepared, &model, stop)?;
        let model = match restored {
            Some(restored) => trainer.go_on(model, &restored)?,
            None => trainer.begin(model)?,
        };
        trainer.run(model)
    });
    let what = match ended {
        Ok(ended) => return ended,
        Err(what) => what,
    };
    let step = trainer.known();
    // Waits for the checkpoint that is being written.
    drop(trainer);
    let run = exhausted::run(what, step, prepared, directory.path());
    Err(TrainError::Exhausted(Box::new(run)))
}

struct Trainer<'a> {
    prepared: &'a Prepared,
    /// The model that the run began with, if an objective requires it.
    reference: Option<CausalLm>,
    /// What a frozen model says of tokens, where an objective looks at that.
    frozen: Frozen,
    schedule: Schedule,
    sampler: Sampler,
    state: StepState,
    rewriting: Rewriting,
    /// Number of steps done, including the one in flight.
    done: usize,
    in_flight: Option<StepInFlight>,
    /// When the last step ended, or when the one in flight began, whichever is later.
    since: Instant,
    guard: GuardState,
    before: Before,
    best: Option<Best>,
    saver: Saver,
    /// Whether the evaluation at the present step was interrupted.
    evaluation_is_due: bool,
    /// Set when the run should end.
    stop: &'a AtomicBool,
    /// The error of the last step's checkpoint.
    unsaved: Option<TrainError>,
    last_save: Instant,
    data: DataDigests,
    directory: &'a mut RunDirectory,
    on_event: &'a mut OnEvent<'a>,
}

impl<'a> Trainer<'a> {
    fn new(
        ranks: &Ranks,
        prepared: &'a Prepared,
        directory: &'a mut RunDirectory,
        stop: &'a AtomicBool,
        on_event: &'a mut OnEvent<'_>,
    ) -> Self {
        let recipe = &prepared.recipe;
        let decay = recipe
            .objective
            .compatibility()
            .map_or(0.99, |c| c.statistics_decay);
        let (samples, global) = (prepared.train.len(), recipe.batch.global);
        let state = StepState::new(
            Optimizer::new(&recipe.optimizer_options()),
            RunningMoments::new(decay),
        );
        Self {
            prepared,
            reference: None,
            frozen: Frozen::Unasked,
            schedule: recipe.learning_rates(prepared.plan.steps),
            sampler: Sampler::new(samples, global, recipe.data.order, recipe.run.seed),
            state,
            rewriting: Rewriting::new(ranks, prepared, directory.path()),
            done: 0,
            in_flight: None,
            since: Instant::now(),
            guard: GuardState::default(),
            before: Before::default(),
            best: None,
            saver: Saver::new(directory.checkpoints(), recipe.checkpoint.keep),
            evaluation_is_due: false,
            stop,
            unsaved: None,
            last_save: Instant::now(),
            data: if ranks.is_first() {
                DataDigests::of(prepared)
            } else {
                DataDigests::default()
            },
            directory,
            on_event,
        }
    }

    /// Starts a run from its beginning.
    fn begin(&mut self, model: CausalLm) -> Result<CausalLm, TrainError> {
        let plan = self.prepared.plan.clone();
        for warning in plan.warnings.clone() {
            self.tell(&Event::Warned { step: 0, warning })?;
        }
        let started = Event::Started { plan };
        self.directory.note(&started)?;
        self.tell(&started)?;
        self.evaluate_before(&model)?;
        Ok(model)
    }

    /// Continues a run from a checkpoint.
    fn go_on(&mut self, model: CausalLm, from: &Resumption) -> Result<CausalLm, TrainError> {
        let Resumption { from, comparison } = from;
        let model = from.model(model)?;
        let ranks = self.state.ranks().clone();
        from.optimizer(&mut self.state.optimizer, &model, &ranks)?;
        let state = from.state.clone();
        self.state.running = state.running;
        self.done = state.step;
        self.guard = state.guard;
        self.before = state.before;
        self.best = state.best;
        self.rewriting = Rewriting::resume(
            self.state.ranks(),
            self.prepared,
            self.directory.path(),
            state.rewriting,
        )?;
        self.restore_window(from)?;
        let plan = self.prepared.plan.clone();
        (self.on_event)(&Event::Started { plan });
        let Comparison { changes, .. } = comparison;
        if let Some(warning) = comparison.warning() {
            let step = state.step;
            self.tell_aside(&Event::Warned { step, warning })?;
        }
        self.tell_aside(&Event::Resumed {
            step: state.step,
            path: from.path.clone(),
            changed: changes.clone(),
        })?;
        if state.evaluation_is_due && state.step == 0 {
            self.evaluate_before(&model)?;
        } else if state.evaluation_is_due && state.step < self.prepared.plan.steps {
            self.evaluate_if_due(&model)?;
        }
        Ok(model)
    }

    fn run(&mut self, model: CausalLm) -> Result<Summary, TrainError> {
        let started = Instant::now();
        let total = self.prepared.plan.steps;
        let ended = self.steps(model, self.stop);
        if ended.is_err() {
            // Try to record the last step; the original error is reported.
            let _ = self.settle().and_then(|()| self.directory.finish());
        }
        let model = ended?;
        // An error here is reported after the model is written, because the model matters most.
        let compatibility = self.rewriting.finish(&self.prepared.train);
        let finished = if self.done < total {
            None
        } else {
            self.finish(&model)?
        };
        let interrupted = finished.is_none();
        let (path, after) = match finished {
            Some(finished) => finished,
            None => (self.save_now(&model)?, (None, None)),
        };
        let summary = Summary {
            steps: self.done,
            interrupted,
            model: path,
            best: self.best,
            evaluation: self.before.evaluation.clone().zip(after.0).map(<[_; 2]>::from),
            answers: self.before.answers.clone().zip(after.1).map(<[_; 2]>::from),
            elapsed_secs: started.elapsed().as_secs_f64(),
        };
        let finished = Event::Finished(summary.clone());
        if interrupted {
            self.tell_aside(&finished)?;
        } else {
            self.directory.note(&finished)?;
            self.tell(&finished)?;
        }
        let saved = self.unsaved.take().map_or(Ok(()), Err);
        match saved.and(compatibility).and(self.directory.finish()) {
            Ok(()) => Ok(summary),
            Err(source) => Err(TrainError::Incomplete {
                model: summary.model,
                source: Box::new(source),
            }),
        }
    }

    /// Does all remaining steps, or stops when `stop` is set.
    fn steps(&mut self, mut model: CausalLm, stop: &AtomicBool) -> Result<CausalLm, TrainError> {
        let total = self.prepared.plan.steps;
        while self.done < total && !self.is_stopped(stop) {
            if self.rewriting.is_due(self.done) {
                (self.on_event)(&Event::Rewriting { step: self.done });
            }
            let round = (self.rewriting).round_after(self.done, self.prepared, &model, stop)?;
            if let Some((round, warning)) = round {
                self.forget_window();
                let step = self.done;
                self.tell(&Event::Rewrote { step, round })?;
                if let Some(warning) = warning {
                    self.tell(&Event::Warned { step, warning })?;
                }
            }
            if self.rewriting.is_due(self.done) {
                // The round was interrupted: it takes place when the run continues.
                break;
            }
            model = self.step(model, self.done + 1, stop)?;
            if self.rewriting.is_due(self.done) {
                self.settle()?;
            }
            let is_best = self.done < total && self.evaluate_if_due(&model)?;
            self.save_if_due(&model, is_best)?;
        }
        self.settle()?;
        Ok(model)
    }

    /// Completes the step in flight and does one more, unless the callback of the completed step sets `stop`.
    fn step(&mut self, model: CausalLm, number: usize, stop: &AtomicBool) -> Result<CausalLm, TrainError> {
        self.begin_time();
        let prepared = self.prepared;
        let recipe = &prepared.recipe;
        let chosen = self.sampler.samples_of(number);
        prepared.train.prefetch(&self.sampler.samples_of(number + 1));
        let samples: Vec<Example> = (chosen.iter())
            .map(|&sample| self.rewriting.example(sample, &prepared.train))
            .collect();
        let samples: Vec<&Example> = samples.iter().collect();
        let cut = (&recipe.batch).into();
        let batch = GlobalBatch::dealt(&samples, self.state.ranks(), &cut, &model.device());
        let objective = self.objective(number);
        let batch = self.compared((number, objective), (&samples, &chosen), &model, batch);
        let lr = self.schedule.at(number);
        let settings = StepSettings {
            objective,
            reference: self.reference.as_ref(),
            normalisation: recipe.loss.normalisation,
            lr,
            clip: recipe.optimizer.clip,
        };
        model.seed_dropout(dropout_seed(recipe.run.seed, number));
        let begun = step::begin(&model, &batch, &settings, &mut self.state);
        if let Some(before) = &begun.before {
            // A signal does not interrupt a step that has begun.
            let is_signalled = self.is_stopped(stop);
            self.tell_end(before)?;
            if self.is_stopped(stop) && !is_signalled {
                return Ok(model);
            }
        }
        let model = begun.update(model, &mut self.state);
        self.in_flight = Some(StepInFlight::new(number, objective.name(), lr, chosen, batch));
        self.done = number;
        Ok(model)
    }

    /// Whether any rank should stop: then all stop.
    fn is_stopped(&self, stop: &AtomicBool) -> bool {
        self.state.ranks().any(stop.load(Ordering::Relaxed))
    }

    /// The objective of a step: `loss.start` for the beginning of the run, then the recipe's.
    fn objective(&self, number: usize) -> &'a dyn Objective {
        let recipe = &self.prepared.recipe;
        match &recipe.loss.start {
            Some(start) if number <= self.prepared.plan.start_steps => start,
            _ => &*recipe.objective,
        }
    }

    /// Reports an event that every run with this recipe, data and seed has.
    fn tell(&mut self, event: &Event) -> Result<(), TrainError> {
        tracing::debug!(?event);
        self.directory.record(event)?;
        (self.on_event)(event);
        self.tell_trouble()
    }

    /// Reports an event that is specific to this run, and therefore not part of its metrics.
    fn tell_aside(&mut self, event: &Event) -> Result<(), TrainError> {
        self.directory.note(event)?;
        (self.on_event)(event);
        self.tell_trouble()
    }

    /// Warns if a log cannot be written. The run continues without it.
    fn tell_trouble(&mut self) -> Result<(), TrainError> {
        let Some(error) = self.directory.trouble() else {
            return Ok(());
        };
        let warning = Warning::of_error(
            "a log of the run cannot be written",
            &error,
            "free some space: the run goes on, and lines of logs are written as soon as they can be",
        );
        let step = self.known();
        let warned = Event::Warned { step, warning };
        self.directory.note(&warned)?;
        (self.on_event)(&warned);
        Ok(())
    }
}

/// The dropout seed of a step. A resumed run uses the same masks, wherever it is resumed.
fn dropout_seed(seed: u64, step: usize) -> u64 {
    // The multiplier of a Weyl sequence keeps the seeds of steps far apart; a step uses far fewer consecutive seeds.
    seed.wrapping_add((step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
