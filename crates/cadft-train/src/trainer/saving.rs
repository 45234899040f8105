//! Checkpoints within a run.

use super::Trainer;
use super::evaluation::Evaluated;
use crate::checkpoint::saver::Saved;
use crate::checkpoint::{CheckpointError, FORMAT_VERSION, Snapshot, TrainingState};
use crate::error::TrainError;
use crate::event::Event;
use crate::export::Export;
use crate::plan::Warning;
use crate::resume;
use cadft_model::CausalLm;
use std::path::PathBuf;
use std::time::Instant;

impl Trainer<'_> {
    /// Begins a checkpoint where one is due, and tells of the one before when that is done.
    pub(super) fn save_if_due(&mut self, model: &CausalLm, is_best: bool) -> Result<(), TrainError> {
        let section = &self.prepared.recipe.checkpoint;
        let is_last = self.done == self.prepared.plan.steps;
        let by_steps = section.every > 0 && (is_best || is_last || self.done.is_multiple_of(section.every));
        let minutes = self.last_save.elapsed().as_secs_f64() / 60.0;
        let by_time = section.every_minutes > 0.0 && (is_best || is_last || minutes >= section.every_minutes);
        let outcome = if by_steps || by_time {
            self.settle()?;
            let stopped = Instant::now();
            self.last_save = stopped;
            match self.snapshot(model) {
                Ok(snapshot) => self.saver.begin(snapshot, stopped),
                Err(error) if is_last => {
                    self.unsaved = Some(error.into());
                    self.saver.finish()
                }
                Err(error) => Some((self.done, Err(error))),
            }
        } else {
            self.saver.poll()
        };
        match outcome {
            Some((step, outcome)) => self.tell_saved(step, outcome),
            None => Ok(()),
        }
    }

    /// Writes a checkpoint and waits for it; its directory.
    pub(super) fn save_now(&mut self, model: &CausalLm) -> Result<PathBuf, TrainError> {
        let stopped = Instant::now();
        let snapshot = self.snapshot(model)?;
        if let Some((step, outcome)) = self.saver.begin(snapshot, stopped) {
            self.tell_saved(step, outcome)?;
        }
        self.saved()?.ok_or_else(|| TrainError::Resume {
            message: "the checkpoint was not begun".to_owned(),
        })
    }

    /// The end of a run: the last checkpoint, evaluation, and the final model, which is written whatever becomes of the
    /// other two.
    pub(super) fn finish(&mut self, model: &CausalLm) -> Result<(PathBuf, Evaluated), TrainError> {
        if let Err(error) = self.saved() {
            self.unsaved = Some(error);
        }
        let after = self.evaluate(model);
        if let Ok(after) = &after {
            self.is_best(after);
        }
        let begun = Instant::now();
        let path = match self.directory.save_model(model, self.prepared) {
            Ok(path) => path,
            Err(error) => {
                self.tell_unsaved()?;
                return Err(error);
            }
        };
        let secs = begun.elapsed().as_secs_f64();
        self.tell_aside(&Event::Saved {
            step: self.done,
            path: path.clone(),
            write_secs: secs,
            stall_secs: secs,
        })?;
        Ok((path, after?))
    }

    /// Waits for the checkpoint that was begun last, which must not fail.
    fn saved(&mut self) -> Result<Option<PathBuf>, TrainError> {
        match self.saver.finish() {
            None => Ok(None),
            Some((step, Ok(saved))) => {
                let path = saved.path.clone();
                self.tell_saved(step, Ok(saved))?;
                Ok(Some(path))
            }
            Some((_, Err(error))) => Err(error.into()),
        }
    }

    /// Tells that there is no checkpoint of the last step, where something else ends the run.
    fn tell_unsaved(&mut self) -> Result<(), TrainError> {
        let Some(error) = self.unsaved.take() else {
            return Ok(());
        };
        let what = "the last checkpoint could not be written";
        let warning = Warning::of_error(what, &error, "the checkpoints before it are still there");
        let step = self.done;
        self.tell_aside(&Event::Warned { step, warning })
    }

    /// Tells of a checkpoint that was written in the background. One that could not be written does not end a run: the
    /// one before it is still there, and the next may succeed.
    fn tell_saved(&mut self, step: usize, outcome: Result<Saved, CheckpointError>) -> Result<(), TrainError> {
        match outcome {
            Ok(saved) => self.tell_aside(&Event::Saved {
                step,
                path: saved.path,
                write_secs: saved.written_in.as_secs_f64(),
                stall_secs: saved.stall.as_secs_f64(),
            }),
            Err(error) => self.tell_aside(&Event::Warned {
                step,
                warning: Warning::of_error(
                    &format!("the checkpoint of step {step} could not be written"),
                    &error,
                    "the run goes on, and the checkpoints before it are still there",
                ),
            }),
        }
    }

    fn snapshot(&mut self, model: &CausalLm) -> Result<Snapshot, CheckpointError> {
        let (logs, files) = self.directory.logs()?;
        let prepared = self.prepared;
        let plan = &prepared.plan;
        let state = TrainingState {
            format_version: FORMAT_VERSION,
            step: self.done,
            total_steps: plan.steps,
            epoch: self.done / plan.steps_per_epoch,
            cursor: self.done % plan.steps_per_epoch,
            seed: prepared.recipe.run.seed,
            running: self.state.running,
            guard: self.guard,
            best: self.best,
            before: self.before.clone(),
            logs,
            rewriting: self.rewriting.state().clone(),
            settings: resume::settings(&prepared.recipe),
            data: self.data.clone(),
            device: self.directory.device().to_owned(),
        };
        let snapshot = Snapshot::new(model, &self.state.optimizer, Export::new(prepared), state);
        Ok(snapshot.with_logs(files))
    }
}
