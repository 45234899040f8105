//! Event files for TensorBoard: the scalars of every step and evaluation, and histograms of the recorded samples.
//!
//! Implemented here because there is no maintained crate for it. A file is a sequence of framed records (`record`),
//! each a small protocol buffer (`message`).

mod message;
mod record;

use crate::config::Recipe;
use crate::error::TrainError;
use crate::event::{Event, StepMetrics};
use crate::run_files::TENSORBOARD;
use crate::samples::StepSamples;
use message::{Histogram, Message};
use record::RecordWriter;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Largest delay of an event before it is on disk.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// Writes the events of a run to one event file.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    writer: RecordWriter<BufWriter<File>>,
    flushed: Instant,
}

impl TensorBoard {
    /// Starts a new event file in `directory`, with first step `first_step`. TensorBoard drops later steps of older
    /// files in the directory, so that a resumed run has one curve.
    ///
    /// # Errors
    /// File errors.
    pub fn create(directory: &Path, first_step: usize) -> Result<Self, TrainError> {
        cadft_files::refuse_link(directory)
            .and_then(|()| fs::create_dir_all(directory))
            .map_err(TrainError::io(directory))?;
        let (path, file) = new_file(directory)?;
        let mut board = Self {
            writer: RecordWriter::new(BufWriter::new(file)),
            path,
            flushed: Instant::now(),
        };
        board.write(&message::file_version(now_secs()))?;
        if first_step > 1 {
            board.write(&message::session_start(now_secs(), first_step))?;
        }
        board.flush()?;
        Ok(board)
    }

    /// The event file of the run in directory `run`, which continues after step `done`; `None` if the recipe does not
    /// ask for TensorBoard.
    pub(crate) fn of_run(run: &Path, recipe: &Recipe, done: usize) -> Result<Option<Self>, TrainError> {
        if !recipe.log.tensorboard {
            return Ok(None);
        }
        let mut board = Self::create(&run.join(TENSORBOARD), done + 1)?;
        if done == 0 {
            // A recipe can always be serialised as TOML.
            board.text(&toml::to_string(recipe).unwrap_or_default())?;
        }
        Ok(Some(board))
    }

    /// Shows the text of the run's recipe in TensorBoard's text tab.
    fn text(&mut self, toml: &str) -> Result<(), TrainError> {
        // Four spaces make a code block in the Markdown that TensorBoard renders.
        let text: String = toml.lines().map(|line| format!("    {line}\n")).collect();
        self.summary(0, &[message::text("recipe", &text)])?;
        self.flush()
    }

    /// Writes the parts of an event that TensorBoard can show.
    ///
    /// # Errors
    /// File errors.
    pub fn event(&mut self, event: &Event) -> Result<(), TrainError> {
        match event {
            Event::Step(metrics) => self.step(metrics)?,
            Event::Samples(samples) => self.samples(samples)?,
            Event::Evaluated { step, evaluation } => {
                let values = [
                    ("eval/nll", evaluation.nll),
                    ("eval/perplexity", evaluation.perplexity),
                    ("eval/token_accuracy", evaluation.token_accuracy),
                ];
                self.scalars(*step, &values)?;
            }
            Event::Answered { step, answers } => {
                self.scalars(*step, &[("eval/answers_accuracy", answers.accuracy)])?;
            }
            Event::Finished(_) => self.flush()?,
            _ => {}
        }
        if self.flushed.elapsed() >= FLUSH_EVERY {
            self.flush()?;
        }
        Ok(())
    }

    fn step(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        let mut values = vec![
            ("train/loss", metrics.loss),
            ("train/nll", metrics.nll),
            ("train/mean_gate", metrics.mean_gate),
            ("train/mean_weight", metrics.mean_weight),
            ("train/ess", metrics.ess),
            ("train/mu", metrics.mu),
            ("train/sigma", metrics.sigma),
            ("train/max_z", metrics.max_z),
            ("train/grad_norm", metrics.grad_norm),
            ("train/learning_rate", metrics.lr),
            ("train/tokens_per_sec", metrics.tokens_per_sec),
        ];
        values.extend(metrics.mean_kl.map(|nats| ("train/mean_kl", nats)));
        values.extend(metrics.peak_rss_mib.map(|mib| ("train/peak_rss_mib", mib)));
        values.extend(metrics.ranks.map(|ranks| ("train/wait_secs", ranks.wait_secs)));
        self.scalars(metrics.step, &values)
    }

    fn samples(&mut self, samples: &StepSamples) -> Result<(), TrainError> {
        let values = [
            ("train/sample_nll", &samples.nll),
            ("train/sample_z", &samples.z),
            ("train/sample_weight", &samples.weight),
        ];
        let histograms: Vec<Message> = values
            .into_iter()
            .filter_map(|(tag, values)| Some(message::histogram(tag, &Histogram::of(values)?)))
            .collect();
        self.summary(samples.step, &histograms)
    }

    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrainError> {
        let values: Vec<Message> = values
            .iter()
            .map(|(tag, value)| message::scalar(tag, *value))
            .collect();
        self.summary(step, &values)
    }

    fn summary(&mut self, step: usize, values: &[Message]) -> Result<(), TrainError> {
        self.write(&message::summary(now_secs(), step, values))
    }

    fn write(&mut self, event: &Message) -> Result<(), TrainError> {
        self.writer
            .write(event.bytes())
            .map_err(TrainError::io(&self.path))
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        self.flushed = Instant::now();
        self.writer.flush().map_err(TrainError::io(&self.path))
    }
}

/// A new file whose name sorts after the existing ones: TensorBoard reads files in the order of their names.
fn new_file(directory: &Path) -> Result<(PathBuf, File), TrainError> {
    let start = now_secs();
    let mut number = 0;
    loop {
        let path = directory.join(format!(
            "events.out.tfevents.{start:010.0}.cadft.{}.{number}",
            std::process::id()
        ));
        match cadft_files::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(TrainError::io(path)(error)),
        }
    }
}

fn now_secs() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |now| now.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: usize) -> StepMetrics {
        StepMetrics {
            step,
            loss: 1.0,
            nll: 1.0,
            objective: "cadft".to_owned(),
            mean_gate: 1.0,
            mean_kl: None,
            mean_weight: 1.0,
            ess: 1.0,
            mu: 1.0,
            sigma: 1.0,
            max_z: 1.0,
            grad_norm: 1.0,
            lr: 1.0,
            tokens: 1,
            supervised: 1,
            tokens_per_sec: 1.0,
            peak_rss_mib: crate::process::peak_rss_mib(),
            ranks: None,
        }
    }

    /// A step of a realistic model takes at least 100 ms; 1 ms is one percent of it.
    #[test]
    fn writing_everything_about_a_step_takes_less_than_a_millisecond() {
        let run = tempfile::tempdir().expect("a directory");
        let mut recipe = Recipe::default();
        recipe.log.tensorboard = true;
        let path = run.path().join("run");
        let mut directory = crate::RunDirectory::create(&path, &recipe, "flex").expect("a directory");
        let values: Vec<f64> = (0..256).map(|sample| 1.0 + f64::from(sample) / 97.0).collect();
        let started = Instant::now();
        for step in 1..=500 {
            let samples = StepSamples {
                step,
                ids: (0..256).map(|sample| format!("train.jsonl:{sample}")).collect(),
                samples: vec![],
                nll: values.clone(),
                z: values.clone(),
                weight: values.clone(),
                gate: values.clone(),
                supervised: vec![31; 256],
            };
            directory.record(&Event::Step(metrics(step))).expect("a step");
            directory.record(&Event::Samples(samples)).expect("samples");
        }
        let micros = started.elapsed().as_micros() / 500;
        eprintln!("{micros} µs a step");
        assert!(micros < 1000, "{micros} µs a step");
        let lines = fs::read_to_string(path.join("samples.jsonl")).expect("samples");
        assert_eq!(lines.lines().count(), 500);
    }

    #[test]
    fn each_start_of_a_run_has_an_event_file_of_its_own() {
        let run = tempfile::tempdir().expect("a directory");
        let mut recipe = Recipe::default();
        assert!(
            TensorBoard::of_run(run.path(), &recipe, 0)
                .expect("no file")
                .is_none()
        );
        recipe.log.tensorboard = true;
        for done in [0, 7] {
            let board = TensorBoard::of_run(run.path(), &recipe, done).expect("a file");
            board
                .expect("a board")
                .event(&Event::Step(metrics(done + 1)))
                .expect("a step");
        }
        let files = fs::read_dir(run.path().join("tensorboard")).expect("a directory");
        assert_eq!(files.count(), 2);
    }
}
