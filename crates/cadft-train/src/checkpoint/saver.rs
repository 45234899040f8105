//! The thread that writes checkpoints while training continues, one at a time.

use super::shards::{Shard, give};
use super::{CheckpointError, Snapshot, rotate};
use crate::warning::Warning;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A checkpoint that was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saved {
    pub(crate) step: usize,
    pub(crate) path: PathBuf,
    /// What should be known about it.
    pub(crate) warning: Option<Warning>,
    /// How long it took to write.
    pub(crate) written_in: Duration,
    /// How long training waited for it.
    pub(crate) stall: Duration,
}

/// The step of a checkpoint, and what happened to it.
type Outcome = (usize, Result<Saved, CheckpointError>);

/// What a rank writes of a checkpoint.
pub(crate) enum Part {
    /// The first, which puts the checkpoint in its place.
    First(Box<Snapshot>),
    /// Another one. What goes wrong is for the first to say.
    Other {
        step: usize,
        shards: Vec<Shard>,
        /// Its name.
        rank: String,
    },
}

impl Saved {
    fn at(step: usize, path: PathBuf) -> Self {
        Self {
            step,
            path,
            warning: None,
            written_in: Duration::ZERO,
            stall: Duration::ZERO,
        }
    }
}

/// Writes snapshots in the background.
#[derive(Debug)]
pub(crate) struct Saver {
    directory: PathBuf,
    keep: usize,
    writing: Option<Writing>,
}

#[derive(Debug)]
struct Writing {
    thread: JoinHandle<Outcome>,
    stall: Duration,
}

impl Saver {
    /// Writes to `directory` and keeps the newest `keep`, besides the best.
    pub(crate) fn new(directory: PathBuf, keep: usize) -> Self {
        Self {
            directory,
            keep,
            writing: None,
        }
    }

    /// Starts to write, after the one before is done; gives the outcome of that. Training waits since `stopped`.
    pub(crate) fn begin(&mut self, part: Part, stopped: Instant) -> Option<Outcome> {
        let before = self.finish();
        let (directory, keep) = (self.directory.clone(), self.keep);
        let thread = std::thread::spawn(move || match part {
            Part::First(snapshot) => (snapshot.state().step, save(&snapshot, &directory, keep)),
            Part::Other { step, shards, rank } => {
                let path = directory.join(super::name(step));
                give(&shards, &path, &rank);
                (step, Ok(Saved::at(step, path)))
            }
        });
        let stall = stopped.elapsed();
        self.writing = Some(Writing { thread, stall });
        before
    }

    /// The outcome of what was begun, if it is done.
    pub(crate) fn poll(&mut self) -> Option<Outcome> {
        if self.writing.as_ref()?.thread.is_finished() {
            self.finish()
        } else {
            None
        }
    }

    /// Waits for what was begun.
    pub(crate) fn finish(&mut self) -> Option<Outcome> {
        let Writing { thread, stall } = self.writing.take()?;
        match thread.join() {
            Ok((step, outcome)) => Some((step, outcome.map(|saved| Saved { stall, ..saved }))),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Saver {
    /// A run that ends in an error still has the checkpoint that it had begun.
    fn drop(&mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.thread.join();
        }
    }
}

fn save(snapshot: &Snapshot, directory: &Path, keep: usize) -> Result<Saved, CheckpointError> {
    let started = Instant::now();
    let state = snapshot.state();
    let (path, warning) = snapshot.write(directory)?;
    let best = state.best.map(|best| best.step);
    rotate::rotate(directory, keep, best.as_slice())?;
    Ok(Saved {
        warning,
        written_in: started.elapsed(),
        ..Saved::at(state.step, path)
    })
}
