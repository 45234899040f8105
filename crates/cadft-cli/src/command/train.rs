//! `cadft train`.

mod chosen;
mod ladder;
mod process;
mod start;
mod waiting;

use crate::allocator;
use crate::args::TrainArgs;
use crate::console::{self, Activity, Console, counted, note};
use crate::exit::Exit;
use crate::launch::Launch;
use crate::{assets, device, hint, interrupt, output};
use anyhow::{Context, Result};
use burn::tensor::Device;
use cadft_data::{Packing, SourceReport, TemplateTime};
use cadft_files::shown;
use cadft_step::Ranks;
use cadft_train::config::BatchSection;
use cadft_train::plan::RanksOfRun;
use cadft_train::{Event, Plan, Prepared, Recipe, RunDirectory, Rung, memory};
use schemars::JsonSchema;
use serde::Serialize;
use start::{GoesOn, Start, Target};
use std::fmt::Write as _;
use std::path::Path;

/// The name, in the run directory, of a recipe that was chosen for the run.
const CHOSEN: &str = "recipe.toml";

pub(crate) fn run(args: &TrainArgs) -> Result<Exit> {
    match Launch::of(args.ranks)? {
        Launch::Threads(count) => run_here(args, RanksOfRun::threads(count)),
        Launch::Process(ranks) if args.dry_run && !ranks.is_first() => Ok(Exit::Done),
        Launch::Process(ranks) if args.dry_run || ranks.count() == 1 => run_here(args, of_run(&ranks)),
        Launch::Process(ranks) => Ok(process::run(args, &ranks)),
    }
}

/// The ranks of a run whose ranks are processes.
fn of_run(ranks: &Ranks) -> RanksOfRun {
    RanksOfRun {
        count: ranks.count(),
        on_machine: ranks.on_machine(),
    }
}

/// A run in this process only, with each rank in a thread. Also plans a run on several processes.
fn run_here(args: &TrainArgs, ranks: RanksOfRun) -> Result<Exit> {
    let target = Target::of(args)?;
    let chosen = target.is_chosen.then(|| target.source.text.clone());
    let mut recipe = target.recipe(args)?;
    if let Some(text) = &chosen {
        note(format!("{}\n", text.trim_end()));
    }
    let device_name = device::name(args.device.device.as_deref());
    let device = device::open(device_name)?;
    assets::materialise(&mut recipe)?;
    recipe.shard_for(ranks.count)?;
    if args.dry_run {
        let resumed = match args.resume {
            Some(_) => Some(target.start(args, recipe.run.out.as_deref())?),
            None => None,
        };
        let time = resumed.as_ref().and_then(Start::template_time);
        let prepared = prepared(recipe, &device, time, ranks)?;
        memory::check(&prepared)?.iter().for_each(hint::warn);
        let goes_on = match resumed {
            Some(start) => start.compare(&prepared, device_name)?,
            None => None,
        };
        plan(&prepared, goes_on, args.json)?;
        return Ok(Exit::Done);
    }

    let stop = interrupt::stop_flag()?;
    let start = target.start(args, recipe.run.out.as_deref())?;
    recipe.run.out = Some(start.out().to_string_lossy().into_owned());
    let prepared = prepared(recipe, &device, start.template_time(), ranks)?;
    if let Some(step) = start.is_over(&prepared, device_name) {
        let _held = RunDirectory::hold(start.out())?;
        already_finished(start.out(), step);
        return Ok(Exit::Done);
    }
    memory::check(&prepared)?.iter().for_each(hint::warn);
    // Refuse unusable weights before the run directory is made. Threads read the weights again.
    let loading = Activity::begin("loading the weights");
    let model = (ranks.count == 1).then(|| prepared.model()).transpose()?;
    drop(loading);
    let mut console = Console::new(&prepared, start.out(), args.json, stop.clone());
    let mut directory = start.open(&prepared, device_name)?;
    if let Some(text) = &chosen {
        let path = directory.path().join(CHOSEN);
        cadft_files::write(&path, text).with_context(|| format!("cannot write `{}`", shown(&path)))?;
    }
    let on_event = &mut |event: &Event| console.event(event);
    allocator::keep_memory();
    let summary = match model {
        Some(model) => cadft_train::train(&prepared, model, &mut directory, &stop, on_event)?,
        None => cadft_train::train_on_threads(ranks.count, &prepared, &mut directory, &stop, on_event)?,
    };
    console.finish()?;
    Ok(if summary.interrupted {
        Exit::Interrupted
    } else {
        Exit::Done
    })
}

/// Reads everything that is needed before the weights.
fn prepared(
    recipe: Recipe,
    device: &Device,
    time: Option<TemplateTime>,
    ranks: RanksOfRun,
) -> Result<Prepared> {
    let _reading = Activity::begin("reading and tokenising the data");
    Ok(Prepared::begun_at(recipe, device, time, ranks)?)
}

/// Reports that the run is finished already.
fn already_finished(run: &Path, step: usize) {
    note(format!(
        "`{}` is already finished at step {}",
        shown(run),
        console::count(step)
    ));
    console::next::finished_before(run);
}

/// The number of parameters and, if not all are trained, of trained ones.
fn parameters(plan: &Plan) -> String {
    let all = console::count(plan.parameters);
    if plan.trainable == plan.parameters {
        return all;
    }
    format!("{all}, {} trained", console::count(plan.trainable))
}

/// The output of `--dry-run --json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Planned<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// With `--resume`, the checkpoint to continue from, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<GoesOn>,
    /// Settings with which the run takes less memory, from those that cost least to those that change most.
    ladder: &'a [Rung],
    /// The memory that a rank may use, in MiB (`guard.memory-of`); absent where nothing reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    room_mib: Option<f64>,
    /// The settings of the first rung of `ladder` that fits into it, none if the recipe does; absent if nothing fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    fits: Option<Vec<String>>,
}

/// Prints the plan of a run.
fn plan(prepared: &Prepared, resume: Option<GoesOn>, json: bool) -> Result<()> {
    let plan = &prepared.plan;
    plan.warnings.iter().for_each(hint::warn);
    let room_mib = memory::room(prepared);
    let fits = room_mib.and_then(|room| ladder::fitting(plan, room));
    if json {
        return output::json_line(&Planned {
            plan,
            resume,
            ladder: &plan.ladder,
            room_mib,
            fits,
        });
    }
    let objective = plan.start.map_or_else(
        || plan.objective.clone(),
        |start| {
            format!(
                "{start} for {}, then {}",
                counted(plan.start_steps, "step"),
                plan.objective
            )
        },
    );
    let resume = resume.map(GoesOn::lines).unwrap_or_default();
    let lines = vec![
        ("model", prepared.recipe.model.path.clone()),
        ("parameters", parameters(plan)),
        ("objective", objective),
        ("samples", console::count(plan.samples)),
        (
            "tokens",
            format!(
                "{}, {} of them trained",
                console::count(plan.tokens),
                console::count(plan.supervised)
            ),
        ),
        ("longest sample", counted(plan.longest, "token")),
        ("evaluation samples", console::count(plan.eval_samples)),
        (
            "batch",
            format!(
                "{} a step, {} a forward pass",
                counted(prepared.recipe.batch.global, "sample"),
                forward_pass(&prepared.recipe.batch),
            ),
        ),
        (
            "steps",
            format!(
                "{}, {} an epoch",
                console::count(plan.steps),
                plan.steps_per_epoch
            ),
        ),
        ("warm-up", counted(plan.warmup_steps, "step")),
        ("rewriting", rewriting(plan)),
        ("memory", memory_of(plan)),
    ];
    let mut lines = with_sources(resume.into_iter().chain(lines), plan);
    lines.extend(ladder::lines(plan, room_mib));
    let lines: Vec<(&str, String)> = lines
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    output::table(&lines)?;
    console::next::planned();
    Ok(())
}

/// The lines of the plan, with the row counts of each source below the number of samples.
fn with_sources(lines: impl Iterator<Item = (&'static str, String)>, plan: &Plan) -> Vec<(String, String)> {
    let rows = |(name, value): (&'static str, String)| {
        let sources = match name {
            "samples" => plan.sources.as_slice(),
            "evaluation samples" => &plan.eval_sources,
            _ => &[],
        };
        let sources = sources
            .iter()
            .map(|source| (format!("  {}", source.path), rows_of(&source.report)));
        std::iter::once((name.to_owned(), value)).chain(sources)
    };
    lines.flat_map(rows).collect()
}

/// The memory of the run, and the additional memory of a checkpoint.
fn memory_of(plan: &Plan) -> String {
    let mut text = format!("about {:.0} MiB", plan.memory_mib);
    if plan.ranks > 1 {
        let _ = write!(text, " on each of {} ranks", plan.ranks);
    }
    if plan.saving_mib >= 0.5 {
        let _ = write!(
            text,
            ", up to {:.0} more while a checkpoint is written",
            plan.saving_mib
        );
    }
    text
}

/// The size of a forward pass.
fn forward_pass(batch: &BatchSection) -> String {
    let packed = batch.packing == Packing::BestFit;
    match batch.max_tokens {
        Some(tokens) if packed => format!("packed into at most {}", counted(tokens, "token")),
        Some(tokens) => format!("at most {}", counted(tokens, "token")),
        None if packed => format!("packed into {}", counted(batch.micro, "row")),
        None if batch.packing == Packing::None => format!("{} padded", batch.micro),
        None => batch.micro.to_string(),
    }
}

/// The numbers of rows of a source that are kept, cut and left out.
fn rows_of(report: &SourceReport) -> String {
    let mut text = format!(
        "{} of {}",
        console::count(report.kept),
        counted(report.rows, "row")
    );
    for (count, what) in [(report.truncated, "cut"), (report.dropped, "left out")] {
        if count > 0 {
            text += &format!(", {} {what}", console::count(count));
        }
    }
    text
}

/// When rounds take place, and how many samples each considers.
fn rewriting(plan: &Plan) -> String {
    let Some(rewrite) = &plan.rewrite else {
        return "off".to_owned();
    };
    let rounds: Vec<_> = rewrite.rounds.iter().map(ToString::to_string).collect();
    let shown = match rounds.as_slice() {
        [] => return "no round".to_owned(),
        [first, second, third, .., last] if rounds.len() > 6 => {
            format!("{first}, {second}, {third}, …, {last}")
        }
        all => all.join(", "),
    };
    format!(
        "{}, after step{} {shown}; at most {} each",
        counted(rounds.len(), "round"),
        if rounds.len() == 1 { "" } else { "s" },
        counted(rewrite.samples, "sample")
    )
}
