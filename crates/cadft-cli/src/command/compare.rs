//! `cadft compare`: trains the same recipe with several objectives and seeds, and makes one table of the results.

mod outcome;
mod table;

use crate::args::CompareArgs;
use crate::console::{Activity, Console, next, note};
use crate::exit::Exit;
use crate::hint::{self, UsageError};
use crate::recipe::Source;
use crate::{assets, device, interrupt, output};
use anyhow::{Context, Result};
use burn::tensor::Device;
use cadft_core::AnyObjective;
use cadft_files::{listed, shown};
use cadft_train::resume::{self, Changes};
use cadft_train::run_files::{CONFIG, MODEL};
use cadft_train::{Prepared, Recipe, RunDirectory, TrainError, config, memory};
use outcome::Outcome;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use table::Table;

/// One run of the comparison.
struct Job {
    objective: &'static str,
    directory: PathBuf,
    recipe: Recipe,
}

pub(crate) fn run(args: &CompareArgs) -> Result<Exit> {
    let source = Source::find(args.recipe.name())?;
    let mut recipe = source.read(&args.set)?;
    if recipe.data.eval.is_empty() {
        return Err(UsageError::new(
            "`data.eval` is empty: there is nothing to compare the objectives by",
            "name evaluation files, as in `--set 'data.eval=[\"eval.jsonl\"]'`",
        )
        .into());
    }
    let objectives = objectives(&args.objectives, &recipe)?;
    assets::materialise(&mut recipe)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(format!("compare-{}", source.name)));
    let jobs = jobs(&recipe, &objectives, args.seeds, &out);
    refuse_others(&out)?;
    jobs.iter().try_for_each(refuse_other_settings)?;
    let device_name = device::name(args.device.device.as_deref());
    let device = device::open(device_name)?;
    let stop = interrupt::stop_flag()?;
    let mut outcomes = vec![];
    for (index, job) in jobs.iter().enumerate() {
        let place = cadft_files::shown(&job.directory);
        if let Some(outcome) = outcome::read(job.objective, &job.directory)? {
            note(format!("`{place}` is finished"));
            outcomes.push(outcome);
            continue;
        }
        note(format!("\n{} of {}: `{place}`", index + 1, jobs.len()));
        outcomes.push(train(job, (device_name, &device), &stop)?);
        if stop.load(Ordering::Relaxed) {
            note("the same command continues from here");
            return Ok(Exit::Interrupted);
        }
    }
    report(&Table::new(&objectives, &outcomes), &out, args.json)
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

fn jobs(recipe: &Recipe, objectives: &[AnyObjective], seeds: usize, out: &Path) -> Vec<Job> {
    let mut jobs = vec![];
    // Seed by seed, so that an interrupted comparison has runs of every objective.
    for seed in (recipe.run.seed..).take(seeds) {
        for objective in objectives {
            let directory = out.join(format!("{}-{seed}", objective.name()));
            let mut recipe = recipe.clone();
            recipe.objective = objective.clone().into();
            recipe.run.seed = seed;
            recipe.run.out = Some(directory.to_string_lossy().into_owned());
            jobs.push(Job {
                objective: objective.name(),
                directory,
                recipe,
            });
        }
    }
    jobs
}

/// Refuses a directory that exists, unless it holds runs of a comparison, or only what a comparison leaves that was
/// interrupted at its start.
fn refuse_others(out: &Path) -> Result<()> {
    let names = cadft_files::entries(out).with_context(|| shown(out).to_string())?;
    let is_job = |name: &String| {
        let parts = name.rsplit_once('-');
        parts.is_some_and(|(objective, seed)| {
            AnyObjective::NAMES.contains(&objective) && seed.parse::<u64>().is_ok()
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

/// Trains a run to its end, from its newest checkpoint if it has one. A run that diverges is a result; any other error
/// ends the comparison.
fn train(job: &Job, (name, device): (&str, &Device), stop: &Arc<AtomicBool>) -> Result<Outcome> {
    let reading = Activity::begin("reading data and weights");
    let prepared = Prepared::new(job.recipe.clone(), device)?;
    memory::check(&prepared)?.iter().for_each(hint::warn);
    let model = prepared.model()?;
    drop(reading);
    let mut directory = open(job, &prepared, name)?;
    let mut console = Console::new(&prepared, &job.directory, false, stop.clone()).without_advice();
    let trained = cadft_train::train(&prepared, model, &mut directory, stop, &mut |event| {
        console.event(event);
    });
    match trained {
        Ok(summary) => Ok(Outcome::of(job.objective, &summary)),
        Err(error @ TrainError::NotFinite { .. }) => {
            hint::report(&error.into());
            Ok(Outcome::diverged(job.objective))
        }
        Err(error) => Err(error.into()),
    }
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
    // Without checkpoints, a run that was interrupted in its last evaluation has a model but no `finished` line.
    let model = job.directory.join(MODEL);
    if model.exists() {
        fs::remove_dir_all(&model).with_context(|| cadft_files::shown(&model).to_string())?;
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
        output::line(table.terminal())?;
    }
    note(format!(
        "`{}` has it as Markdown and JSON",
        cadft_files::shown(&out)
    ));
    next(&[format!("cadft report {}", cadft_files::shown(&out))]);
    Ok(Exit::Done)
}
