//! The directory of a run.
//!
//! ```text
//! config.resolved.toml   the whole recipe, as used
//! environment.json       program, command line, git revision, machine and backends
//! metrics.jsonl          one object for each step; other events have a key `event`
//! samples.jsonl          scores and weights of single samples on some steps
//! tensorboard/           event files, if the recipe asks for them
//! history.jsonl          events of this run with their time: started, resumed, saved, interrupted
//! ranks/                 notes of ranks that wait for others
//! run.lock               locked by the process that writes the run
//! checkpoints/step-NNNNNN/
//! model/                 the final Hugging Face directory; a PEFT directory if an adapter was trained
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

/// The checkpoint to continue from, and how the run differs from it.
#[derive(Clone, Debug)]
pub(crate) struct Resumption {
    pub(crate) from: Restored,
    pub(crate) comparison: Comparison,
}

/// An open run directory, locked against other processes. With several ranks, the first one writes.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    device: String,
    /// `None` on ranks that do not write.
    files: Option<Files>,
    restored: Option<Resumption>,
    segments: Vec<Segment>,
    /// The first error of writing that has not been reported yet.
    trouble: Option<TrainError>,
}

/// The files that a run appends to.
#[derive(Debug)]
struct Files {
    logs: Logs,
    history: Log,
    tensorboard: Option<TensorBoard>,
    /// The lock, held while the files are open.
    _lock: File,
}

#[derive(Serialize)]
struct HistoryLine<'a> {
    unix_secs: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl RunDirectory {
    /// Whether `path` holds a run, by the files that a run writes when it begins.
    #[must_use]
    pub fn is_taken(path: &Path) -> bool {
        crate::run_model::is_run(path)
    }

    /// Refuses a directory for a new run, unless it is missing, empty, or holds only the remains of a run that was
    /// interrupted at its start.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] if there is a run, [`TrainError::Occupied`] if there is anything else.
    pub fn check_new(path: &Path) -> Result<(), TrainError> {
        place::refuse_others(path)
    }

    /// Creates the directory, and writes the recipe and the environment; `device` is the name of the device.
    ///
    /// # Errors
    /// As [`RunDirectory::check_new`]; [`TrainError::Locked`] if another process is creating a run there; file errors.
    pub fn create(path: &Path, recipe: &Recipe, device: &str) -> Result<Self, TrainError> {
        Self::check_new(path)?;
        let lock = lock(path)?;
        Self::check_new(path)?;
        Self::begin(path, recipe, device, lock)
    }

    /// Opens the directory of a run that was stopped before its first checkpoint, to start it again.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] if there is a final model; otherwise as [`RunDirectory::create`].
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

    /// Locks the run directory at `path` against other processes until the returned value is dropped.
    ///
    /// # Errors
    /// [`TrainError::Locked`] if another process uses it.
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

    /// The run directory `path` for a rank that writes nothing, while another rank has it open. `from` is the
    /// checkpoint that the run continues from.
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

    /// The same directory for another rank, which writes nothing.
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

    /// Opens the directory at `path` to continue from the checkpoint `from`. If the checkpoint belongs to another run
    /// directory, its logs are copied up to the checkpoint. [`train`](crate::train) continues from there.
    ///
    /// # Errors
    /// Settings that differ from those of the checkpoint, unless they are [`Changes::Allowed`]; logs that are shorter
    /// than recorded; [`TrainError::Locked`]; file errors. Nothing is changed in these cases.
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

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// The name of the device.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// The parts of the run between changes of settings.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Takes the checkpoint to continue from.
    pub(crate) fn take_restored(&mut self) -> Option<Resumption> {
        self.restored.take()
    }

    /// Appends an event to `metrics.jsonl`, and to the other logs that record it. Only events that every run with this
    /// recipe, data and seed reports.
    pub(crate) fn record(&mut self, event: &Event) -> Result<(), TrainError> {
        if let Some(files) = &mut self.files
            && let Some(board) = &mut files.tensorboard
            && let Err(error) = board.event(event)
        {
            // Its files only repeat the logs, so the run continues without them.
            files.tensorboard = None;
            self.trouble.get_or_insert(error);
        }
        match event {
            Event::Samples(samples) => self.append(SAMPLES, samples),
            Event::Step(metrics) => self.append(METRICS, metrics),
            other => self.append(METRICS, other),
        }
    }

    /// Appends a line to the log `name`. A checkpoint records the number of lines; a continued run first removes the
    /// lines after it.
    pub(crate) fn append(&mut self, name: &'static str, line: &impl Serialize) -> Result<(), TrainError> {
        match &mut self.files {
            Some(files) => files.logs.append(&self.path, name, line),
            None => Ok(()),
        }
    }

    /// The number of lines of each log, and the log files, to synchronise them.
    ///
    /// # Errors
    /// If pending lines cannot be written: a checkpoint must not count them.
    pub(crate) fn logs(&mut self) -> Result<(BTreeMap<String, usize>, Vec<File>), CheckpointError> {
        match &mut self.files {
            Some(files) => files.logs.position(),
            None => Ok(Default::default()),
        }
    }

    /// Appends an event to `history.jsonl`, for events that are specific to this run.
    pub(crate) fn note(&mut self, event: &Event) -> Result<(), TrainError> {
        let unix_secs = now();
        match &mut self.files {
            Some(files) => files.history.append(&HistoryLine { unix_secs, event }),
            None => Ok(()),
        }
    }

    /// The first unreported error of writing. Pending lines are kept, and written as soon as possible.
    pub(crate) fn trouble(&mut self) -> Option<TrainError> {
        let of_logs = |files: &mut Files| files.logs.trouble().or_else(|| files.history.trouble());
        let of_logs = self.files.as_mut().and_then(of_logs);
        self.trouble.take().or(of_logs)
    }

    /// Writes the pending lines of all logs.
    ///
    /// # Errors
    /// If they still cannot be written.
    pub(crate) fn finish(&mut self) -> Result<(), TrainError> {
        match &mut self.files {
            Some(files) => files.logs.finish().and(files.history.finish()),
            None => Ok(()),
        }
    }

    /// Writes `model`. Returns its path, and a warning if there is one.
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

/// Writes the recipe. Its values hold since the last change; the values of earlier segments are listed above it.
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
