//! Writes checkpoints in a background thread while training continues, one at a time.

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
    /// A warning for the user, if there is one.
    pub(crate) warning: Option<Warning>,
    /// The duration of writing.
    pub(crate) written_in: Duration,
    /// How long training waited for the checkpoint.
    pub(crate) stall: Duration,
}

/// The step of a checkpoint, and the result of writing it.
type Outcome = (usize, Result<Saved, CheckpointError>);

/// The part of a checkpoint that one rank writes.
pub(crate) enum Part {
    /// The part of the first rank, which completes the checkpoint and renames it.
    First(Box<Snapshot>),
    /// The part of another rank. The first rank reports its errors.
    Other {
        step: usize,
        shards: Vec<Shard>,
        /// Name of the rank.
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
    /// An outcome that was waited for and has not been returned yet.
    ended: Option<Outcome>,
    /// Set when the run ends early: other ranks that have not written their part yet never will.
    is_ending: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Writing {
    thread: JoinHandle<Outcome>,
    stall: Duration,
}

impl Saver {
    /// Writes to `directory`. Keeps the newest `keep` checkpoints, and the best one.
    pub(crate) fn new(directory: PathBuf, keep: usize) -> Self {
        Self {
            directory,
            keep,
            writing: None,
            ended: None,
            is_ending: Arc::default(),
        }
    }

    /// Starts to write a checkpoint, after waiting for the previous one, whose outcome is returned. Training has been
    /// waiting since `stopped`.
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

    /// The outcome of the current checkpoint, if it is written.
    pub(crate) fn poll(&mut self) -> Option<Outcome> {
        match &self.writing {
            Some(writing) if !writing.thread.is_finished() => None,
            _ => self.finish(),
        }
    }

    /// Waits for the current checkpoint. Its outcome is returned by a later call.
    pub(crate) fn wait(&mut self) {
        self.ended = self.finish();
    }

    /// Waits for the current checkpoint, and returns its outcome.
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
    /// Also completes the checkpoint in progress if the run ends with an error.
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
