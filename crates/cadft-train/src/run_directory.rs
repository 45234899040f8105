//! The directory of a run.
//!
//! ```text
//! config.resolved.toml   the whole recipe as it was run
//! environment.json       program, command line, git revision, machine and backends
//! metrics.jsonl          one object a step; other events carry an `event` key
//! samples.jsonl          scores and weights of single samples on some steps
//! tensorboard/           event files, if asked for
//! history.jsonl          what happened to the run: started, resumed, saved, interrupted, with the time
//! ranks/                 notes of ranks that wait for others
//! run.lock               held by the process that works here
//! checkpoints/step-NNNNNN/
//! model/                 the final Hugging Face directory, or PEFT directory where an adapter was trained
//! ```

mod lock;
mod logs;
mod place;

use crate::change::Segment;
use crate::checkpoint::{CheckpointError, Restored, durable};
use crate::config::Recipe;
use crate::environment::Environment;
use crate::error::TrainError;
use crate::event::Event;
use crate::export::Export;
use crate::prepare::Prepared;
use crate::resume::{self, Changes, Comparison};
use crate::run_files::{CHECKPOINTS, CONFIG, ENVIRONMENT, HISTORY, METRICS, MODEL, REWRITES, SAMPLES};
use crate::tensorboard::TensorBoard;
use crate::warning::Warning;
use cadft_model::CausalLm;
use lock::{Held, lock};
use logs::{Log, Logs};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A checkpoint to go on from, and how the run stands to it.
#[derive(Clone, Debug)]
pub(crate) struct Resumption {
    pub(crate) from: Restored,
    pub(crate) comparison: Comparison,
}

/// An open run directory: no other process has it. Of several ranks, the first writes.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    device: String,
    /// Absent on the ranks that do not write.
    files: Option<Files>,
    restored: Option<Resumption>,
    segments: Vec<Segment>,
    /// What could not be written and is not reported yet.
    trouble: Option<TrainError>,
}

/// The files that a run appends to.
#[derive(Debug)]
struct Files {
    logs: Logs,
    history: Log,
    tensorboard: Option<TensorBoard>,
    /// Held as long as they are open.
    _lock: File,
}

#[derive(Serialize)]
struct HistoryLine<'a> {
    unix_secs: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl RunDirectory {
    /// Whether `path` holds a run: the files that a run writes when it begins.
    #[must_use]
    pub fn is_taken(path: &Path) -> bool {
        crate::run_model::is_run(path)
    }

    /// Refuses a directory that is not for a new run: only one that is not there, that is empty, or that holds no more than
    /// a run leaves that was cut off while it began, is for one.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] where there is a run, [`TrainError::Occupied`] where there is anything else.
    pub fn check_new(path: &Path) -> Result<(), TrainError> {
        place::refuse_others(path)
    }

    /// Makes the directory and writes the recipe and the environment; `device` is the device's name.
    ///
    /// # Errors
    /// As [`RunDirectory::check_new`], [`TrainError::Locked`] where another process is making a run there, and whatever the
    /// file system says.
    pub fn create(path: &Path, recipe: &Recipe, device: &str) -> Result<Self, TrainError> {
        Self::check_new(path)?;
        let lock = lock(path)?;
        Self::check_new(path)?;
        Self::begin(path, recipe, device, lock)
    }

    /// Opens the directory of a run that was stopped before its first checkpoint, to start it again.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] where there is a final model, and otherwise as [`RunDirectory::create`].
    pub fn restart(path: &Path, recipe: &Recipe, device: &str) -> Result<Self, TrainError> {
        if !Self::is_taken(path) {
            return Self::create(path, recipe, device);
        }
        let lock = lock(path)?;
        if path.join(MODEL).exists() {
            return Err(TrainError::RunExists(path.to_owned()));
        }
        let log = path.join(REWRITES);
        match fs::remove_file(&log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(TrainError::io(log)(error)),
            _ => {}
        }
        Self::begin(path, recipe, device, lock)
    }

    /// Keeps other processes out of the run directory at `path` for as long as the value lives.
    ///
    /// # Errors
    /// [`TrainError::Locked`] where another process works in it.
    pub fn hold(path: &Path) -> Result<impl Drop + use<>, TrainError> {
        lock(path).map(Held)
    }

    fn begin(path: &Path, recipe: &Recipe, device: &str, lock: File) -> Result<Self, TrainError> {
        place::prepare(path)?;
        write_environment(path, device)?;
        write_config(path, recipe, &[])?;
        Ok(Self {
            path: path.to_owned(),
            device: device.to_owned(),
            files: Some(Files {
                logs: Logs::open(path, &BTreeMap::new())?,
                history: Log::continued(&path.join(HISTORY))?,
                tensorboard: TensorBoard::of_run(path, recipe, 0)?,
                _lock: lock,
            }),
            trouble: None,
            restored: None,
            segments: vec![],
        })
    }

    /// The directory `path` of a run on a rank that reads what the run continues from, and writes nothing: another rank has
    /// it open.
    #[must_use]
    pub fn watched(path: &Path, prepared: &Prepared, device: &str, from: Option<Restored>) -> Self {
        let restored = from.map(|from| Resumption {
            comparison: resume::compare(prepared, device, &from),
            from,
        });
        Self {
            path: path.to_owned(),
            device: device.to_owned(),
            files: None,
            restored,
            segments: vec![],
            trouble: None,
        }
    }

    /// The same directory on another rank, which reads what a run continues from and writes nothing.
    #[must_use]
    pub(crate) fn beside(&self) -> Self {
        Self {
            path: self.path.clone(),
            device: self.device.clone(),
            files: None,
            restored: self.restored.clone(),
            segments: self.segments.clone(),
            trouble: None,
        }
    }

    /// Opens the directory at `path` to continue from `from`: its own run, or that of another directory, whose logs are
    /// then copied up to the checkpoint. [`train`](crate::train) continues from there.
    ///
    /// # Errors
    /// Settings that are not those of the checkpoint, unless they are [`Changes::Allowed`]; logs that are shorter than
    /// they were; [`TrainError::Locked`]; and whatever the file system says. Nothing is changed then.
    pub fn resume(
        path: &Path,
        prepared: &Prepared,
        device: &str,
        from: Restored,
        changes: Changes,
    ) -> Result<Self, TrainError> {
        let comparison = resume::compare(prepared, device, &from);
        if changes == Changes::Refused {
            comparison.refuse_changes(&from)?;
        }
        let mut segments = from.state.segments.clone();
        if !comparison.changes.is_empty() {
            segments.push(Segment {
                until: from.state.step,
                changed: comparison.changes.clone(),
            });
        }
        place::refuse_own_model(path, prepared)?;
        let source = resume::run_of(&from.path)?;
        let is_same = cadft_files::is_same(&source, path);
        if !is_same {
            Self::check_new(path)?;
        }
        let lock = lock(path)?;
        Logs::check(&source, &from.state.logs)?;
        if is_same {
            resume::refuse_to_go_back(path, &from)?;
        } else {
            Logs::copy(&source, path, &from.state.logs)?;
            write_environment(path, device)?;
        }
        place::prepare(path)?;
        write_config(path, &prepared.recipe, &segments)?;
        Ok(Self {
            path: path.to_owned(),
            device: device.to_owned(),
            files: Some(Files {
                logs: Logs::open(path, &from.state.logs)?,
                history: Log::continued(&path.join(HISTORY))?,
                tensorboard: TensorBoard::of_run(path, &prepared.recipe, from.state.step)?,
                _lock: lock,
            }),
            trouble: None,
            restored: Some(Resumption { from, comparison }),
            segments,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of its checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Name of the device it runs on.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// Where something was changed that the result depends on.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The checkpoint to go on from, once.
    pub(crate) fn take_restored(&mut self) -> Option<Resumption> {
        self.restored.take()
    }

    /// Appends an event to `metrics.jsonl`, and to the other files that have a place for it: what any run with this
    /// recipe, data and seed would also tell.
    pub(crate) fn record(&mut self, event: &Event) -> Result<(), TrainError> {
        if let Some(files) = &mut self.files
            && let Some(board) = &mut files.tensorboard
            && let Err(error) = board.event(event)
        {
            // Its files are made from what the logs have, too.
            files.tensorboard = None;
            self.trouble.get_or_insert(error);
        }
        match event {
            Event::Samples(samples) => self.append(SAMPLES, samples),
            Event::Step(metrics) => self.append(METRICS, metrics),
            other => self.append(METRICS, other),
        }
    }

    /// Appends a line to the log called `name`. A checkpoint knows the number of its lines, and a continued run first
    /// cuts off what came after.
    pub(crate) fn append(&mut self, name: &'static str, line: &impl Serialize) -> Result<(), TrainError> {
        match &mut self.files {
            Some(files) => files.logs.append(&self.path, name, line),
            None => Ok(()),
        }
    }

    /// Lines of every log so far, and the logs themselves to be synchronised.
    ///
    /// # Errors
    /// Lines that cannot be written: a checkpoint must not count them.
    pub(crate) fn logs(&mut self) -> Result<(BTreeMap<String, usize>, Vec<File>), CheckpointError> {
        match &mut self.files {
            Some(files) => files.logs.position(),
            None => Ok(Default::default()),
        }
    }

    /// Appends an event to `history.jsonl`: what happened to this run and to no other.
    pub(crate) fn note(&mut self, event: &Event) -> Result<(), TrainError> {
        let unix_secs = now();
        match &mut self.files {
            Some(files) => files.history.append(&HistoryLine { unix_secs, event }),
            None => Ok(()),
        }
    }

    /// What could not be written, if that is not reported yet. Lines of logs are kept, and written as soon as they can be.
    pub(crate) fn trouble(&mut self) -> Option<TrainError> {
        let of_logs = |files: &mut Files| files.logs.trouble().or_else(|| files.history.trouble());
        let of_logs = self.files.as_mut().and_then(of_logs);
        self.trouble.take().or(of_logs)
    }

    /// Writes the lines that could not be written before.
    ///
    /// # Errors
    /// Lines that still cannot be written.
    pub(crate) fn finish(&mut self) -> Result<(), TrainError> {
        match &mut self.files {
            Some(files) => files.logs.finish().and(files.history.finish()),
            None => Ok(()),
        }
    }

    /// Writes `model`; its place, and what should be known about it.
    pub(crate) fn save_model(
        &self,
        model: &CausalLm,
        prepared: &Prepared,
    ) -> Result<(PathBuf, Option<Warning>), TrainError> {
        let path = self.path.join(MODEL);
        if self.files.is_none() {
            return Ok((path, None));
        }
        let warning = Export::new(prepared).write(&path, model)?;
        Ok((path, warning))
    }
}

/// Writes the recipe. What it says holds from the last change on, so that earlier values stand above it.
fn write_config(path: &Path, recipe: &Recipe, segments: &[Segment]) -> Result<(), TrainError> {
    let mut text = String::new();
    for Segment { until, changed } in segments {
        let _ = writeln!(text, "# Changed after step {until}:");
        for change in changed {
            let _ = writeln!(text, "#   {}", change.to_string().replace(char::is_control, " "));
        }
    }
    if recipe.objective.named().is_none() {
        text += "# The objective belongs to the program that started the run: that program continues it.\n";
    }
    let recipe = toml::to_string(recipe).map_err(|error| TrainError::Io {
        path: path.join(CONFIG),
        source: std::io::Error::other(error),
    })?;
    write(&path.join(CONFIG), &(text + &recipe))
}

fn write_environment(path: &Path, device: &str) -> Result<(), TrainError> {
    let environment = serde_json::to_string_pretty(&Environment::current(device)).unwrap_or_default();
    write(&path.join(ENVIRONMENT), &format!("{environment}\n"))
}

fn write(path: &Path, text: &str) -> Result<(), TrainError> {
    Ok(durable::write(path, text.as_bytes())?)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}
