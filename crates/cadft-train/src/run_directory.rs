//! The directory of a run.
//!
//! ```text
//! config.resolved.toml   the whole recipe as it was run
//! environment.json       program, command line, git revision, machine and backends
//! metrics.jsonl          one object a step; other events carry an `event` key
//! samples.jsonl          scores and weights of single samples on some steps
//! tensorboard/           event files, if asked for
//! checkpoints/step-NNNNNN/
//! model/                 the final Hugging Face directory, or PEFT directory where an adapter was trained
//! ```

use crate::config::Recipe;
use crate::environment::Environment;
use crate::error::TrainError;
use crate::event::Event;
use crate::export::Export;
use crate::prepare::Prepared;
use crate::tensorboard::TensorBoard;
use cadft_model::CausalLm;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.resolved.toml";
const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples.jsonl";

/// An open run directory.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    metrics: File,
    samples: File,
    tensorboard: Option<TensorBoard>,
}

impl RunDirectory {
    /// Whether `path` already holds a run.
    #[must_use]
    pub fn is_taken(path: &Path) -> bool {
        path.join(CONFIG).exists()
    }

    /// Makes the directory and writes the recipe and the environment; `device` is the device's name.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] where there is a run, and whatever the file system says.
    pub fn create(path: &Path, recipe: &Recipe, device: &str) -> Result<Self, TrainError> {
        if Self::is_taken(path) {
            return Err(TrainError::RunExists(path.to_owned()));
        }
        fs::create_dir_all(path).map_err(TrainError::io(path))?;
        let text = toml::to_string(recipe).map_err(|error| TrainError::Io {
            path: path.join(CONFIG),
            source: std::io::Error::other(error),
        })?;
        let environment = serde_json::to_string_pretty(&Environment::current(device)).unwrap_or_default();
        write(&path.join("environment.json"), &format!("{environment}\n"))?;
        write(&path.join(CONFIG), &text)?;
        let log = |name: &str| File::create(path.join(name)).map_err(TrainError::io(path.join(name)));
        let (metrics, samples) = (log(METRICS)?, log(SAMPLES)?);
        Ok(Self {
            path: path.to_owned(),
            metrics,
            samples,
            tensorboard: TensorBoard::of_run(path, recipe, 0)?,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event to `metrics.jsonl`, and to the other files that have a place for it.
    pub(crate) fn record(&mut self, event: &Event) -> Result<(), TrainError> {
        if let Some(board) = &mut self.tensorboard {
            board.event(event)?;
        }
        let (file, line) = match event {
            Event::Samples(samples) => (&mut self.samples, serde_json::to_string(samples)),
            Event::Step(metrics) => (&mut self.metrics, serde_json::to_string(metrics)),
            other => (&mut self.metrics, serde_json::to_string(other)),
        };
        let path = self.path.join(match event {
            Event::Samples(_) => SAMPLES,
            _ => METRICS,
        });
        let line = line.map_err(|error| TrainError::Io {
            path: path.clone(),
            source: error.into(),
        })?;
        writeln!(file, "{line}").map_err(TrainError::io(path))
    }

    /// Writes `checkpoints/step-NNNNNN` and removes all but the newest `keep`.
    pub(crate) fn save_checkpoint(
        &self,
        step: usize,
        model: &CausalLm,
        prepared: &Prepared,
    ) -> Result<PathBuf, TrainError> {
        let directory = self.path.join("checkpoints");
        fs::create_dir_all(&directory).map_err(TrainError::io(&directory))?;
        let path = directory.join(format!("step-{step:06}"));
        save(&path, model, prepared)?;
        let mut saved = checkpoint_steps(&directory)?;
        saved.sort_unstable();
        let keep = prepared.recipe.checkpoint.keep;
        for old in saved.iter().rev().skip(keep) {
            let old = directory.join(format!("step-{old:06}"));
            fs::remove_dir_all(&old).map_err(TrainError::io(old))?;
        }
        Ok(path)
    }

    /// Writes `model`.
    pub(crate) fn save_model(&self, model: &CausalLm, prepared: &Prepared) -> Result<PathBuf, TrainError> {
        let path = self.path.join("model");
        save(&path, model, prepared)?;
        Ok(path)
    }
}

fn save(path: &Path, model: &CausalLm, prepared: &Prepared) -> Result<(), TrainError> {
    Ok(Export::new(prepared).write(path, model)?)
}

/// The steps of the complete checkpoints in a directory.
fn checkpoint_steps(directory: &Path) -> Result<Vec<usize>, TrainError> {
    let entries = fs::read_dir(directory).map_err(TrainError::io(directory))?;
    Ok(entries
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_prefix("step-")?
                .parse()
                .ok()
        })
        .collect())
}

/// Writes under a temporary name, then renames.
fn write(path: &Path, text: &str) -> Result<(), TrainError> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text).map_err(TrainError::io(&temporary))?;
    fs::rename(&temporary, path).map_err(TrainError::io(path))
}
