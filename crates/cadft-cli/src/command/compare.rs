//! `cadft compare`: the same recipe with several objectives, settings, data and seeds, and one table of what came out.
//!
//! Started twice, in two terminals, it shares the runs: what another process trains is left to it and read at the end.

mod before;
mod matrix;
mod measures;
mod outcome;
mod statistics;
mod table;

pub(super) use table::Table;

use crate::allocator;
use crate::args::CompareArgs;
use crate::console::{Activity, Console, next, note};
use crate::exit::Exit;
use crate::hint::{self, UsageError};
use crate::recipe::Source;
use crate::report::render;
use crate::{assets, device, interrupt, output};
use anyhow::{Context, Result};
use before::Known;
use burn::tensor::Device;
use cadft_core::AnyObjective;
use cadft_files::{listed, shown};
use cadft_train::resume::{self, Changes};
use cadft_train::run_files::{CONFIG, MODEL};
use cadft_train::{Environment, Prepared, Recipe, RunDirectory, TrainError, config, memory};
use matrix::{Cell, Job, Matrix};
use outcome::Outcome;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use table::Made;

/// Between two looks at runs that another process trains.
const WAIT: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &CompareArgs) -> Result<Exit> {
    let source = Source::find(args.recipe.name())?;
    let recipe = source.read(&args.set)?;
    if recipe.data.eval.is_empty() {
        return Err(UsageError::new(
            "`data.eval` is empty: there is nothing to compare the objectives by",
            "name evaluation files, as in `--set 'data.eval=[\"eval.jsonl\"]'`",
        )
        .into());
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(format!("compare-{}", source.name)));
    let Matrix { cells, mut jobs } = Matrix::new(args, &source, &out)?;
    for job in &mut jobs {
        assets::materialise(&mut job.recipe)?;
    }
    refuse_others(&out, &cells)?;
    jobs.iter().try_for_each(refuse_other_settings)?;
    let device_name = device::name(args.device.device.as_deref());
    let device = device::open(device_name)?;
    let stop = interrupt::stop_flag()?;
    let mut outcomes: Vec<Option<Outcome>> = jobs.iter().map(|_| None).collect();
    let mut known = Known::default();
    let mut is_waiting = false;
    while outcomes.iter().any(Option::is_none) {
        let mut has_trained = false;
        for (index, (job, outcome)) in jobs.iter().zip(&mut outcomes).enumerate() {
            if outcome.is_some() {
                continue;
            }
            let place = cadft_files::shown(&job.directory);
            *outcome = outcome::read(job)?;
            if outcome.is_some() {
                note(format!("`{place}` is finished"));
                continue;
            }
            if !is_waiting {
                note(format!("\n{} of {}: `{place}`", index + 1, jobs.len()));
            }
            *outcome = train(job, (device_name, &device), &mut known, &stop)?;
            has_trained |= outcome.is_some();
            if stop.load(Ordering::Relaxed) {
                next::compared_in_part();
                return Ok(Exit::Interrupted);
            }
        }
        is_waiting = !has_trained && outcomes.iter().any(Option::is_none);
        if is_waiting {
            note("the other runs are trained by another process, which is waited for");
            std::thread::sleep(WAIT);
        }
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    let made = Made::by(&Environment::current(device_name));
    report(&Table::new(&cells, &outcomes, made), &out, args.json)
}

/// The objectives of these names. The recipe's objective keeps its settings.
pub(super) fn objectives(names: &[String], recipe: &Recipe) -> Result<Vec<AnyObjective>> {
    let mut objectives: Vec<AnyObjective> = vec![];
    for name in names {
        let own = (recipe.objective.named()).filter(|objective| objective.name() == name);
        let objective = own.cloned().or_else(|| AnyObjective::from_name(name));
        let objective = objective.ok_or_else(|| {
            let known = AnyObjective::NAMES.join(", ");
            UsageError::new(
                format!("`{name}` is not an objective"),
                format!("objectives are {known}"),
            )
        })?;
        if objectives.contains(&objective) {
            return Err(
                UsageError::new(format!("`{name}` is named twice"), "name each objective once").into(),
            );
        }
        objectives.push(objective);
    }
    Ok(objectives)
}

/// Refuses a directory that exists, unless it holds runs of a comparison, or only what a comparison leaves that was
/// interrupted at its start.
fn refuse_others(out: &Path, cells: &[Cell]) -> Result<()> {
    let names = cadft_files::entries(out).with_context(|| shown(out).to_string())?;
    let is_job = |name: &String| {
        let parts = name.rsplit_once('-');
        parts.is_some_and(|(cell, seed)| {
            let objective = cell.split('.').next().unwrap_or(cell);
            let is_known = AnyObjective::NAMES.contains(&objective)
                || cells.iter().any(|cell| cell.objective == objective);
            is_known && seed.parse::<u64>().is_ok()
        })
    };
    let is_run = |name: &&String| is_job(name) && RunDirectory::is_taken(&out.join(name));
    let is_rest = |name: &String| is_job(name) && RunDirectory::check_new(&out.join(name)).is_ok();
    if names.iter().any(|name| is_run(&name)) || names.iter().all(is_rest) {
        return Ok(());
    }
    Err(UsageError::new(
        format!(
            "`--out`: `{}` is not empty and holds no comparison: {}",
            shown(out),
            listed(&names)
        ),
        "choose a directory that is new or empty with `--out DIR`",
    )
    .into())
}

/// Refuses a run directory that holds a run with other settings than `job`.
fn refuse_other_settings(job: &Job) -> Result<()> {
    if !RunDirectory::is_taken(&job.directory) {
        return Ok(RunDirectory::check_new(&job.directory)?);
    }
    let place = job.directory.join(CONFIG);
    let text = cadft_files::read_to_string(&place).with_context(|| cadft_files::shown(&place).to_string())?;
    let found = config::parse(&place.to_string_lossy(), &text, &[])?;
    let differences = config::difference(&job.recipe, &found);
    let keys: Vec<_> = differences
        .iter()
        .map(|difference| format!("`{}`", difference.key))
        .filter(|key| key != "`run.out`")
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    Err(UsageError::new(
        format!(
            "`{}` holds a run with other values of {}",
            cadft_files::shown(&job.directory),
            keys.join(", ")
        ),
        "choose another directory with `--out DIR`",
    )
    .into())
}

/// Trains a run to its end, from its newest checkpoint where it has one. A run that diverges is an outcome; any other
/// error ends the comparison. `None` if another process trains it.
fn train(
    job: &Job,
    (name, device): (&str, &Device),
    known: &mut Known,
    stop: &Arc<AtomicBool>,
) -> Result<Option<Outcome>> {
    match RunDirectory::hold(&job.directory) {
        Ok(_held) => {
            // It may have been finished just now.
            if let Some(outcome) = outcome::read(job)? {
                return Ok(Some(outcome));
            }
            remove_rest(job)?;
        }
        Err(TrainError::Locked(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let reading = Activity::begin("reading data and weights");
    let mut prepared = Prepared::new(job.recipe.clone(), device)?;
    memory::check(&prepared)?.iter().for_each(hint::warn);
    let model = prepared.model()?;
    prepared.before = known.of(&prepared);
    drop(reading);
    let mut directory = match open(job, &prepared, name) {
        Ok(directory) => directory,
        Err(error) if is_taken_by_another(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut console = Console::new(&prepared, &job.directory, false, stop.clone()).without_advice();
    allocator::keep_memory();
    let trained = cadft_train::train(&prepared, model, &mut directory, stop, &mut |event| {
        console.event(event);
    });
    match trained {
        Ok(summary) => {
            known.keep(&prepared, &summary);
            Ok(Some(Outcome::of(job, &summary)))
        }
        Err(error @ TrainError::NotFinite { .. }) => {
            hint::report(&error.into());
            Ok(Some(Outcome::diverged(job)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a process that was quicker has the run.
fn is_taken_by_another(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(TrainError::Locked(_) | TrainError::RunExists(_))
    )
}

/// Without checkpoints, a run that was cut off in its last evaluation has a model, but no end.
fn remove_rest(job: &Job) -> Result<()> {
    let model = job.directory.join(MODEL);
    if model.exists() && resume::newest(&job.directory)?.checkpoint.is_none() {
        fs::remove_dir_all(&model).with_context(|| cadft_files::shown(&model).to_string())?;
    }
    Ok(())
}

/// Opens the directory of a run that is not finished.
fn open(job: &Job, prepared: &Prepared, device: &str) -> Result<RunDirectory> {
    let found = resume::newest(&job.directory)?;
    found.warnings.iter().for_each(hint::warn);
    if let Some(checkpoint) = found.checkpoint {
        let changes = Changes::Refused;
        return Ok(RunDirectory::resume(
            &job.directory,
            prepared,
            device,
            checkpoint,
            changes,
        )?);
    }
    if !RunDirectory::is_taken(&job.directory) {
        return Ok(RunDirectory::create(&job.directory, &prepared.recipe, device)?);
    }
    Ok(RunDirectory::restart(&job.directory, &prepared.recipe, device)?)
}

/// Writes the table next to the runs, and prints it.
fn report(table: &Table, out: &Path, json: bool) -> Result<Exit> {
    let text = serde_json::to_string_pretty(table)?;
    for (file, text) in [("compare.json", text + "\n"), ("compare.md", table.markdown())] {
        let path = out.join(file);
        cadft_files::write(&path, text).with_context(|| format!("cannot write `{}`", shown(&path)))?;
    }
    if json {
        output::json_line(table)?;
    } else {
        for table in table.terminal() {
            output::grid(&table)?;
        }
    }
    note(format!(
        "`{}` has it as Markdown and JSON",
        cadft_files::shown(&out)
    ));
    let page = out.join("report.html");
    let text = render(&[out.to_owned()])?;
    cadft_files::write(&page, text).with_context(|| format!("cannot write `{}`", shown(&page)))?;
    next::page(&page);
    Ok(Exit::Done)
}
