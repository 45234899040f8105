//! Runs with several ranks, each a thread of this process.

mod agree;

pub use agree::{Disagreement, Statement, agree};

use crate::error::TrainError;
use crate::event::Summary;
use crate::prepare::Prepared;
use crate::run_directory::RunDirectory;
use crate::trainer::{OnEvent, train_on};
use cadft_step::Ranks;
use cadft_step::ranks::{Local, Lost};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::thread;

/// Trains as [`train`](crate::train), with `ranks` ranks. Each is a thread of this process, with its own copy of the
/// model. The first rank uses `directory` and `on_event`.
///
/// # Errors
/// As [`train`](crate::train). An error on one rank ends all ranks.
///
/// # Panics
/// If a rank panics, with the same payload.
pub fn train_on_threads(
    ranks: usize,
    prepared: &Prepared,
    directory: &mut RunDirectory,
    stop: &AtomicBool,
    on_event: &mut OnEvent<'_>,
) -> Result<Summary, TrainError> {
    let mut all = Local::all(ranks).into_iter();
    let first = all.next();
    let others: Vec<(Local, RunDirectory)> = all.map(|local| (local, directory.beside())).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = (others.into_iter())
            .map(|(local, mut directory)| {
                scope.spawn(move || run(local, prepared, &mut directory, stop, &mut |_| ()))
            })
            .collect();
        let mut ended = vec![];
        ended.extend(first.map(|local| run(local, prepared, directory, stop, on_event)));
        for thread in threads {
            ended.push(thread.join().unwrap_or_else(Err));
        }
        outcome(ended)
    })
}

/// The result of a rank, or the payload of its panic.
type Ended = Result<Result<Summary, TrainError>, Box<dyn Any + Send>>;

fn run(
    local: Local,
    prepared: &Prepared,
    directory: &mut RunDirectory,
    stop: &AtomicBool,
    on_event: &mut OnEvent<'_>,
) -> Ended {
    catch_unwind(AssertUnwindSafe(|| {
        let ranks = Ranks::new(Rc::new(local));
        let model = prepared.model()?;
        train_on(&ranks, prepared, model, directory, stop, on_event)
    }))
}

/// The first error or panic, else the summary of the first rank. [`Lost`] is only a consequence: it counts if there is
/// nothing else.
fn outcome(ended: Vec<Ended>) -> Result<Summary, TrainError> {
    let mut summary = None;
    let mut lost = None;
    for ended in ended {
        match ended {
            Ok(Ok(of_rank)) => summary = summary.or(Some(of_rank)),
            Ok(Err(error)) => return Err(error),
            Err(panic) if panic.is::<Lost>() => lost = Some(panic),
            Err(panic) => resume_unwind(panic),
        }
    }
    match (lost, summary) {
        (None, Some(summary)) => Ok(summary),
        (Some(lost), _) => resume_unwind(lost),
        (None, None) => unreachable!("there is a first rank"),
    }
}
