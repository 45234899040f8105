//! A run on several processes.
//!
//! The first rank decides where the run is and what it continues from. Then all ranks read recipe, data and weights.
//! The first rank reads before the others, so that downloads and tokenized data are in the cache. Training begins after
//! all ranks have agreed on what they read.

use super::start::{Start, Target};
use super::waiting::Notes;
use crate::args::TrainArgs;
use crate::console::{Activity, Console};
use crate::exit::Exit;
use crate::hint::{self, Failure, UsageError};
use crate::{assets, device, interrupt};
use anyhow::Result;
use cadft_model::CausalLm;
use cadft_step::Ranks;
use cadft_train::checkpoint::{self, Restored};
use cadft_train::ranks::{Disagreement, Statement, agree};
use cadft_train::run_files::RANKS;
use cadft_train::{Event, Prepared, RunDirectory, memory, train_on};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The decisions of the first rank.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Decided {
    out: PathBuf,
    checkpoint: Option<PathBuf>,
}

/// The result of a stage. If it did not succeed on every rank, it has been reported; the exit code is that of all
/// ranks.
type Stage<T> = Result<T, Exit>;

/// Trains as one of several ranks.
pub(super) fn run(args: &TrainArgs, ranks: &Ranks) -> Exit {
    let exit = match begin(args, ranks) {
        // An error on one rank ends all ranks, because the others wait for it.
        Ok(begun) => train(ranks, begun).unwrap_or_else(|error| {
            let exit = hint::report(&error.context(ranks.name(ranks.rank())));
            ranks.end_all(i32::from(exit.code()));
            exit
        }),
        Err(exit) => exit,
    };
    // A launcher stops all ranks as soon as one ends with a nonzero exit code. So all ranks wait here for each other's
    // output.
    let _ = ranks.any(false);
    exit
}

/// A run that all ranks are ready to begin.
struct Begun {
    prepared: Prepared,
    model: CausalLm,
    directory: RunDirectory,
    out: PathBuf,
    json: bool,
}

fn begin(args: &TrainArgs, ranks: &Ranks) -> Stage<Begun> {
    let device_name = &device::of_rank(args.device.device.as_deref(), ranks);
    let decision = if ranks.is_first() {
        decide(args).map(Some)
    } else {
        Ok(None)
    };
    let start = together(ranks, decision, |_| Statement::default())?;
    let decided = start.as_ref().map(Decided::of).unwrap_or_default();
    let decided = ranks.from_first(&serde_json::to_vec(&decided).unwrap_or_default());
    let decided: Decided = serde_json::from_slice(&decided).unwrap_or_default();

    let first = ranks.is_first().then(|| read(args, ranks, device_name, &decided));
    // All ranks wait here for the first.
    let _ = ranks.any(false);
    let own = first.unwrap_or_else(|| read(args, ranks, device_name, &decided));
    let (prepared, model, from) = together(ranks, own, |(prepared, _, from)| {
        Statement::of(prepared, device_name, from.as_ref())
    })?;
    let opened = match start {
        Some(start) => start.open(&prepared, device_name).map_err(anyhow::Error::from),
        None => Ok(RunDirectory::watched(&decided.out, &prepared, device_name, from)),
    };
    let directory = together(ranks, opened, |_| Statement::default())?;
    Ok(Begun {
        prepared,
        model,
        directory,
        out: decided.out,
        json: args.json,
    })
}

/// Decides where the run is, and what it continues from.
fn decide(args: &TrainArgs) -> Result<Start> {
    let target = Target::of(args)?;
    let recipe = target.recipe(args)?;
    target.start(args, recipe.run.out.as_deref())
}

impl Decided {
    fn of(start: &Start) -> Self {
        Self {
            out: start.out().to_owned(),
            checkpoint: start.checkpoint().map(|from| from.path.clone()),
        }
    }
}

/// Reads everything that a rank needs.
fn read(
    args: &TrainArgs,
    ranks: &Ranks,
    device_name: &str,
    decided: &Decided,
) -> Result<(Prepared, CausalLm, Option<Restored>)> {
    let _reading = ranks
        .is_first()
        .then(|| Activity::begin("reading data and weights"));
    let mut recipe = Target::of(args)?.recipe(args)?;
    let device = device::open(device_name)?;
    assets::materialise(&mut recipe)?;
    recipe.shard_for(ranks.count())?;
    recipe.run.out = Some(decided.out.to_string_lossy().into_owned());
    let from = decided.checkpoint.as_deref().map(checkpoint::open).transpose()?;
    let time = from.as_ref().and_then(|from| from.state.template_time);
    let prepared = Prepared::begun_at(recipe, &device, time, super::of_run(ranks))?;
    if ranks.is_first() {
        memory::check(&prepared)?.iter().for_each(hint::warn);
    }
    let model = prepared.model()?;
    Ok((prepared, model, from))
}

/// Continues if all ranks succeeded with the same statement. Otherwise the first rank reports all problems, and all
/// ranks end with the same exit code.
fn together<T>(ranks: &Ranks, own: Result<T>, say: impl FnOnce(&T) -> Statement) -> Stage<T> {
    let statement = match &own {
        Ok(value) => say(value),
        Err(error) => Statement::failed(hint::text(error), hint::is_input(error)),
    };
    let Err(disagreement) = agree(ranks, &statement) else {
        return own.map_err(|error| hint::report(&error));
    };
    let Disagreement {
        message,
        is_input,
        is_shared,
    } = disagreement;
    if ranks.is_first() {
        let _ = hint::report(&match own {
            Err(error) if is_shared => error,
            _ if is_input => UsageError::new(message, SAME).into(),
            _ => Failure::new(message, SAME).into(),
        });
    }
    Err(if is_input { Exit::Usage } else { Exit::Failed })
}

const SAME: &str = "every rank needs the same program, recipe, data and weights";

fn train(ranks: &Ranks, begun: Begun) -> Result<Exit> {
    let Begun {
        prepared,
        model,
        mut directory,
        out,
        json,
    } = begun;
    let patience = Duration::from_secs(prepared.recipe.run.patience);
    ranks.watch(patience, Box::new(Notes::new(&out.join(RANKS), ranks)));
    let stop = interrupt::stop_flag()?;
    let mut console = ranks
        .is_first()
        .then(|| Console::new(&prepared, &out, json, stop.clone()));
    let summary = train_on(
        &ranks.on_device(&prepared.device),
        &prepared,
        model,
        &mut directory,
        &stop,
        &mut |event: &Event| {
            if let Some(console) = &mut console {
                console.event(event);
            }
        },
    )?;
    if let Some(console) = console {
        console.finish()?;
    }
    Ok(if summary.interrupted {
        Exit::Interrupted
    } else {
        Exit::Done
    })
}
