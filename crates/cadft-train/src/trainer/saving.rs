//! Checkpoints within a run.

use super::Trainer;
use super::evaluation::Evaluated;
use crate::checkpoint::saver::{Part, Saved};
use crate::checkpoint::shards::{self, Others, Shard, make_meeting_place};
use crate::checkpoint::{self, CheckpointError, FORMAT_VERSION, Snapshot, TrainingState, on_host};
use crate::error::TrainError;
use crate::event::Event;
use crate::export::Export;
use crate::frozen::Frozen;
use crate::resume;
use crate::warning::Warning;
use cadft_model::CausalLm;
use std::path::PathBuf;
use std::time::{Duration, Instant};

impl Trainer<'_> {
    /// Starts a checkpoint if one is due. Reports the previous one if it is written.
    pub(super) fn save_if_due(&mut self, model: &CausalLm, is_best: bool) -> Result<(), TrainError> {
        let section = &self.prepared.recipe.checkpoint;
        let is_last = self.done == self.prepared.plan.steps;
        let by_steps = section.every > 0 && (is_best || is_last || self.done.is_multiple_of(section.every));
        let minutes = self.last_save.elapsed().as_secs_f64() / 60.0;
        // The first rank's clock decides, because clocks differ.
        let is_time = self.state.ranks().is_first() && minutes >= section.every_minutes;
        let by_time = section.every_minutes > 0.0 && (is_best || is_last || self.state.ranks().any(is_time));
        let outcome = if by_steps || by_time {
            self.settle()?;
            let stopped = Instant::now();
            self.last_save = stopped;
            match self.part(model) {
                Ok(None) => None,
                Ok(Some(part)) => self.saver.begin(part, stopped),
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

    /// Writes a checkpoint and waits for it. Returns its directory.
    pub(super) fn save_now(&mut self, model: &CausalLm) -> Result<PathBuf, TrainError> {
        let stopped = Instant::now();
        let Some(part) = self.part(model)? else {
            return Ok(self.directory.checkpoints().join(checkpoint::name(self.done)));
        };
        if let Some((step, outcome)) = self.saver.begin(part, stopped) {
            self.tell_saved(step, outcome)?;
        }
        self.saved()?.ok_or_else(|| TrainError::Resume {
            message: "the checkpoint was not begun".to_owned(),
            hint: None,
        })
    }

    /// The end of a run: the last checkpoint, the evaluation, and the final model, which is written even if the other
    /// two fail. `None` if the evaluation was interrupted: the run then ends when it is continued.
    pub(super) fn finish(&mut self, model: &CausalLm) -> Result<Option<(PathBuf, Evaluated)>, TrainError> {
        if let Err(error) = self.saved() {
            self.unsaved = Some(error);
        }
        let after = self.evaluate(model);
        if self.evaluation_is_due {
            return Ok(None);
        }
        if let Ok(after) = &after {
            self.is_best(after);
            self.tell_rounding(model, after.0.as_ref())?;
        }
        self.say_saving();
        let begun = Instant::now();
        let (path, warning) = match self.directory.save_model(model, self.prepared) {
            Ok(saved) => saved,
            Err(error) => {
                self.tell_unsaved()?;
                return Err(error);
            }
        };
        self.tell_warning(self.done, warning)?;
        let secs = begun.elapsed().as_secs_f64();
        self.tell_aside(&Event::Saved {
            step: self.done,
            path: path.clone(),
            write_secs: secs,
            stall_secs: secs,
        })?;
        Ok(Some((path, after?)))
    }

    /// Waits for the checkpoint in progress. Returns its error, if it failed.
    fn saved(&mut self) -> Result<Option<PathBuf>, TrainError> {
        self.say_saving();
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

    fn say_saving(&mut self) {
        (self.on_event)(&Event::Saving { step: self.done });
    }

    /// If the last step has no checkpoint and another error ends the run, warns of the missing checkpoint.
    fn tell_unsaved(&mut self) -> Result<(), TrainError> {
        let Some(error) = self.unsaved.take() else {
            return Ok(());
        };
        let what = "the last checkpoint could not be written";
        let hint = if self.has_checkpoint() {
            "the checkpoints before it are still there"
        } else {
            "there is no other checkpoint of this run"
        };
        let warning = Warning::of_error(what, &error, hint);
        let step = self.done;
        self.tell_aside(&Event::Warned { step, warning })
    }

    /// Reports a checkpoint that was written in the background. A failure does not end the run: the previous checkpoint
    /// still exists, and the next one may succeed.
    fn tell_saved(&mut self, step: usize, outcome: Result<Saved, CheckpointError>) -> Result<(), TrainError> {
        match outcome {
            Ok(saved) => {
                self.tell_warning(step, saved.warning)?;
                self.tell_aside(&Event::Saved {
                    step,
                    path: saved.path,
                    write_secs: saved.written_in.as_secs_f64(),
                    stall_secs: saved.stall.as_secs_f64(),
                })
            }
            Err(error) => {
                let hint = if self.has_checkpoint() {
                    "the run goes on, and the checkpoints before it are still there"
                } else {
                    "the run goes on, but there is no checkpoint yet that it could be continued from"
                };
                let what = format!("the checkpoint of step {step} could not be written");
                self.tell_warning(step, Some(Warning::of_error(&what, &error, hint)))
            }
        }
    }

    /// Whether there is a checkpoint to continue from. If checkpoints cannot be listed, they cannot be read either.
    fn has_checkpoint(&self) -> bool {
        checkpoint::steps(self.directory.path()).is_ok_and(|steps| !steps.is_empty())
    }

    fn tell_warning(&mut self, step: usize, warning: Option<Warning>) -> Result<(), TrainError> {
        match warning {
            Some(warning) => self.tell_aside(&Event::Warned { step, warning }),
            None => Ok(()),
        }
    }

    /// The part of a checkpoint that this rank writes; `None` on other ranks if the first rank cannot begin.
    fn part(&mut self, model: &CausalLm) -> Result<Option<Part>, CheckpointError> {
        let ranks = self.state.ranks();
        let shards = shards::shards(ranks, self.state.optimizer.state(model), ranks.held(model));
        if ranks.count() == 1 {
            return Ok(Some(Part::First(Box::new(self.snapshot(model, shards)?))));
        }
        // The previous checkpoint may be of the same step.
        self.saver.wait();
        let ranks = self.state.ranks();
        let path = self.directory.checkpoints().join(checkpoint::name(self.done));
        let begun = if ranks.is_first() {
            make_meeting_place(&path)
        } else {
            Ok(())
        };
        // The directory for the other ranks' files must exist before any rank writes.
        let can_begin = !ranks.any(begun.is_err());
        begun?;
        if !can_begin {
            return Ok(None);
        }
        if !ranks.is_first() {
            return Ok(Some(Part::Other {
                step: self.done,
                shards: on_host(shards, &model.device()),
                rank: ranks.name(ranks.rank()),
            }));
        }
        let per_rank = ranks.own_shards().len();
        let others = Others {
            of_shards: (0..ranks.shards())
                .map(|shard| ranks.name(shard / per_rank))
                .collect(),
            patience: Duration::from_secs(self.prepared.recipe.run.patience),
        };
        let snapshot = self.snapshot(model, shards)?.with_others(others);
        Ok(Some(Part::First(Box::new(snapshot))))
    }

    /// The part of a checkpoint that the first rank writes.
    fn snapshot(&mut self, model: &CausalLm, optimizer: Vec<Shard>) -> Result<Snapshot, CheckpointError> {
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
            evaluation_is_due: self.evaluation_is_due,
            settings: resume::settings(&prepared.recipe),
            data: self.data.clone(),
            inputs: Some(prepared.inputs()),
            template_time: plan.template_time,
            segments: self.directory.segments().to_vec(),
            device: self.directory.device().to_owned(),
        };
        let snapshot = Snapshot::new(model, optimizer, Export::new(prepared), state);
        let reference = match &self.frozen {
            Frozen::Window(window) => window.state(self.done),
            _ => vec![],
        };
        Ok(snapshot.with_logs(files).with_reference(reference))
    }
}
