//! The thread that writes checkpoints while training continues, one at a time.

use super::shards::{Shard, give};
use super::{CheckpointError, Snapshot, rotate};
use crate::warning::Warning;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// The outcome of one that was waited for, until it is asked for.
    ended: Option<Outcome>,
    /// Set when the run ends without waiting: ranks that have not written their part never will.
    is_ending: Arc<AtomicBool>,
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
            ended: None,
            is_ending: Arc::default(),
        }
    }

    /// Starts to write, after the one before is done; gives the outcome of that. Training waits since `stopped`.
    pub(crate) fn begin(&mut self, part: Part, stopped: Instant) -> Option<Outcome> {
        let before = self.finish();
        let (directory, keep, is_ending) = (self.directory.clone(), self.keep, self.is_ending.clone());
        let thread = std::thread::spawn(move || match part {
            Part::First(snapshot) => (
                snapshot.state().step,
                save(&snapshot, &directory, keep, &is_ending),
            ),
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
        match &self.writing {
            Some(writing) if !writing.thread.is_finished() => None,
            _ => self.finish(),
        }
    }

    /// Waits for what was begun; the outcome is given later.
    pub(crate) fn wait(&mut self) {
        self.ended = self.finish();
    }

    /// Waits for what was begun.
    pub(crate) fn finish(&mut self) -> Option<Outcome> {
        let Some(Writing { thread, stall }) = self.writing.take() else {
            return self.ended.take();
        };
        match thread.join() {
            Ok((step, outcome)) => Some((step, outcome.map(|saved| Saved { stall, ..saved }))),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Saver {
    /// A run that ends in an error still has the checkpoint that it had begun.
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(writing) = self.writing.take() {
            let _ = writing.thread.join();
        }
    }
}

fn save(
    snapshot: &Snapshot,
    directory: &Path,
    keep: usize,
    is_ending: &AtomicBool,
) -> Result<Saved, CheckpointError> {
    let started = Instant::now();
    let state = snapshot.state();
    let (path, warning) = snapshot.write(directory, is_ending)?;
    let best = state.best.map(|best| best.step);
    rotate::rotate(directory, keep, best.as_slice())?;
    Ok(Saved {
        warning,
        written_in: started.elapsed(),
        ..Saved::at(state.step, path)
    })
}
