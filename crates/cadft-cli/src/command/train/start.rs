//! Where a run starts: at the beginning, in a new or existing directory, or at a checkpoint.

use super::chosen;
use crate::args::TrainArgs;
use crate::console;
use crate::hint::{self, UsageError};
use crate::recipe::Source;
use anyhow::Result;
use cadft_data::TemplateTime;
use cadft_train::checkpoint::Restored;
use cadft_train::resume::{self, Change, Changes, Found};
use cadft_train::run_files::{METRICS, MODEL};
use cadft_train::{Prepared, Recipe, RunDirectory, TrainError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The recipe of a run, and the checkpoint to continue from.
pub(super) struct Target {
    pub(super) source: Source,
    /// Whether the recipe was chosen from the model and the data.
    pub(super) is_chosen: bool,
    /// The checkpoint of `--resume PATH`, or of `--resume` with `--out`.
    found: Option<Found>,
}

/// How a run directory is opened.
pub(super) enum Start {
    New(PathBuf),
    Again(PathBuf),
    From(PathBuf, Box<Restored>, Changes),
}

impl Target {
    /// Finds the recipe. With `--resume`, finds the run, and its recipe if none is given.
    pub(super) fn of(args: &TrainArgs) -> Result<Self> {
        let found = match (args.resume.as_deref(), &args.out) {
            (None, _) | (Some("auto"), None) => None,
            (Some("auto"), Some(out)) => Some(resume::newest(out)?),
            (Some(path), _) => Some(resume::at(Path::new(path))?),
        };
        let of_run = (found.as_ref()).map(|found| Found::recipe(&found.run).to_string_lossy().into_owned());
        let is_chosen = args.recipe.name().is_none() && found.is_none() && args.shorthand.begins();
        let source = match (args.recipe.name(), of_run) {
            _ if is_chosen => chosen::recipe(&args.shorthand, &args.device)?,
            (Some(recipe), _) => Source::find(recipe)?,
            (None, Some(recipe)) if Path::new(&recipe).exists() => Source::find(&recipe)?,
            (None, _) if args.resume.is_some() && found.is_none() => {
                return Err(UsageError::new(
                    "`--resume` does not say which run",
                    "name its directory with `--out DIR`, give the directory or a checkpoint as `--resume PATH`, or name \
                     the recipe",
                )
                .into());
            }
            (None, _) => Source::find("quickstart")?,
        };
        Ok(Self {
            source,
            is_chosen,
            found,
        })
    }

    /// The recipe, with the changes of the command line.
    pub(super) fn recipe(&self, args: &TrainArgs) -> Result<Recipe, TrainError> {
        self.source.read(&args.overrides(self.is_chosen))
    }

    /// Decides how to start; `of_recipe` is the recipe's `run.out`.
    pub(super) fn start(self, args: &TrainArgs, of_recipe: Option<&str>) -> Result<Start> {
        let asked = args.out.as_deref().or(of_recipe.map(Path::new));
        if args.resume.is_none() {
            return Ok(Start::New(directory(asked, &self.source.name)?));
        }
        let found = match (self.found, asked) {
            (Some(found), _) => found,
            (None, Some(out)) => resume::newest(out)?,
            (None, None) => resume::newest(&Path::new("runs").join(&self.source.name))?,
        };
        found.warnings.iter().for_each(hint::warn);
        let changes = if args.allow_change {
            Changes::Allowed
        } else {
            Changes::Refused
        };
        let out = args.out.clone().unwrap_or_else(|| found.run.clone());
        Ok(match found.checkpoint {
            Some(checkpoint) => Start::From(out, Box::new(checkpoint), changes),
            None if RunDirectory::is_taken(&out) => {
                console::note(format!(
                    "`{}` has no checkpoint yet: the run starts again",
                    cadft_files::shown(&out)
                ));
                Start::Again(out)
            }
            None => Start::New(out),
        })
    }
}

/// The point at which a run would continue.
#[derive(Serialize, JsonSchema)]
pub(in crate::command) struct GoesOn {
    /// Number of steps done.
    step: usize,
    /// The checkpoint.
    path: PathBuf,
    /// The settings that have changed, if changes are allowed.
    changed: Vec<Change>,
}

impl GoesOn {
    /// The facts as lines of a table.
    pub(super) fn lines(self) -> Vec<(&'static str, String)> {
        let from = format!(
            "after step {} from `{}`",
            self.step,
            cadft_files::shown(&self.path)
        );
        let changed = self.changed.iter().map(|change| ("changed", change.to_string()));
        [("goes on", from)].into_iter().chain(changed).collect()
    }
}

impl Start {
    /// The point at which the run would continue; `None` if it would begin.
    pub(super) fn compare(self, prepared: &Prepared, device: &str) -> Result<Option<GoesOn>, TrainError> {
        let Self::From(_, checkpoint, changes) = self else {
            return Ok(None);
        };
        let comparison = resume::compare(prepared, device, &checkpoint);
        if changes == Changes::Refused {
            comparison.refuse_changes(&checkpoint)?;
        }
        comparison.warning().iter().for_each(hint::warn);
        Ok(Some(GoesOn {
            step: checkpoint.state.step,
            path: checkpoint.path,
            changed: comparison.changes,
        }))
    }

    /// The step of a run that is finished; `None` if steps remain.
    pub(super) fn is_over(&self, prepared: &Prepared, device: &str) -> Option<usize> {
        let Self::From(out, checkpoint, _) = self else {
            return None;
        };
        let step = checkpoint.state.step;
        let is_over = step >= prepared.plan.steps
            && has_finished(out)
            && resume::compare(prepared, device, checkpoint).changes.is_empty();
        is_over.then_some(step)
    }

    /// The time at which the run began, if its chat template shows the time.
    pub(super) fn template_time(&self) -> Option<TemplateTime> {
        self.checkpoint()?.state.template_time
    }

    /// The checkpoint that the run continues from.
    pub(super) fn checkpoint(&self) -> Option<&Restored> {
        match self {
            Self::From(_, checkpoint, _) => Some(checkpoint),
            Self::New(_) | Self::Again(_) => None,
        }
    }

    /// The run directory.
    pub(super) fn out(&self) -> &Path {
        match self {
            Self::New(out) | Self::Again(out) | Self::From(out, ..) => out,
        }
    }

    /// Opens the run directory.
    pub(super) fn open(self, prepared: &Prepared, device: &str) -> Result<RunDirectory, TrainError> {
        match self {
            Self::New(out) => RunDirectory::create(&out, &prepared.recipe, device),
            Self::Again(out) => RunDirectory::restart(&out, &prepared.recipe, device),
            Self::From(out, checkpoint, changes) => {
                RunDirectory::resume(&out, prepared, device, *checkpoint, changes)
            }
        }
    }
}

/// Whether the metrics of a run have a `finished` line, and its model exists.
fn has_finished(run: &Path) -> bool {
    let metrics = cadft_files::read_to_string(&run.join(METRICS)).unwrap_or_default();
    let last: Option<Value> = metrics
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    let is_end = last.is_some_and(|event| event["event"] == "finished" && event["interrupted"] == false);
    is_end && run.join(MODEL).is_dir()
}

/// The requested directory, or a new one under `runs`. A directory that is not empty is refused before data are read.
fn directory(asked: Option<&Path>, name: &str) -> Result<PathBuf, TrainError> {
    let Some(out) = asked else {
        return Ok(new_directory(name));
    };
    RunDirectory::check_new(out)?;
    Ok(out.to_owned())
}

/// `runs/NAME`; if it exists, `runs/NAME-2` and so on.
fn new_directory(name: &str) -> PathBuf {
    let runs = Path::new("runs");
    let first = runs.join(name);
    let mut directory = first.clone();
    let mut number = 2;
    while directory.exists() {
        directory = runs.join(format!("{name}-{number}"));
        number += 1;
    }
    if directory != first {
        console::note(format!(
            "`{}` is taken; this run goes to `{}`",
            cadft_files::shown(&first),
            cadft_files::shown(&directory)
        ));
    }
    directory
}
