//! What a run writes beside `metrics.jsonl`, as `[log]` asks: `samples.jsonl` and event files for TensorBoard.

use crate::config::LogSection;
use crate::error::TrainError;
use crate::event::Event;
use crate::tensorboard::TensorBoard;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The open side files of a run.
#[derive(Debug)]
pub(crate) struct SideFiles {
    samples_path: PathBuf,
    samples: Option<File>,
    tensorboard: Option<TensorBoard>,
}

impl SideFiles {
    /// Opens the files of the run in the directory `run`, of which `done` steps are kept: 0 for a new one. What later
    /// steps had written is dropped. `recipe` is the run's resolved recipe.
    pub(crate) fn open(run: &Path, log: &LogSection, recipe: &str, done: usize) -> Result<Self, TrainError> {
        let samples_path = run.join("samples.jsonl");
        let samples = (log.samples > 0)
            .then(|| open_samples(&samples_path, done))
            .transpose()?;
        let mut tensorboard = log
            .tensorboard
            .then(|| TensorBoard::create(&run.join("tensorboard"), done + 1))
            .transpose()?;
        if let Some(board) = tensorboard.as_mut().filter(|_| done == 0) {
            board.recipe(recipe)?;
        }
        Ok(Self {
            samples_path,
            samples,
            tensorboard,
        })
    }

    /// Writes what an event says to the files that have a place for it.
    pub(crate) fn record(&mut self, event: &Event) -> Result<(), TrainError> {
        if let (Event::Samples(samples), Some(file)) = (event, &mut self.samples) {
            let line = serde_json::to_string(samples).map_err(std::io::Error::from);
            line.and_then(|line| writeln!(file, "{line}"))
                .map_err(TrainError::io(&self.samples_path))?;
        }
        match &mut self.tensorboard {
            Some(board) => board.event(event),
            None => Ok(()),
        }
    }
}

/// The file, open at its end, with the records of the first `done` steps.
fn open_samples(path: &Path, done: usize) -> Result<File, TrainError> {
    let io = |source| TrainError::io(path)(source);
    let kept = match fs::read_to_string(path) {
        Ok(text) if done > 0 => text
            .split_inclusive('\n')
            .take_while(|line| step_of(line).is_some_and(|step| step <= done))
            .collect(),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => String::new(),
    };
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).map_err(io)?;
    file.write_all(kept.as_bytes()).map_err(io)?;
    fs::rename(&temporary, path).map_err(io)?;
    Ok(file)
}

/// The step of a whole record.
fn step_of(line: &str) -> Option<usize> {
    let record: serde_json::Value = serde_json::from_str(line.strip_suffix('\n')?).ok()?;
    usize::try_from(record["step"].as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StepMetrics;
    use crate::samples::StepSamples;
    use std::time::Instant;

    fn record(step: usize) -> Event {
        Event::Samples(StepSamples {
            step,
            ids: vec!["a".to_owned()],
            nll: vec![1.5],
            z: vec![0.0],
            weight: vec![1.0],
        })
    }

    #[test]
    fn a_resumed_run_keeps_the_records_up_to_its_step_and_no_torn_line() {
        let run = tempfile::tempdir().expect("a directory");
        let log = LogSection {
            tensorboard: true,
            ..LogSection::default()
        };
        let mut files = SideFiles::open(run.path(), &log, "", 0).expect("files");
        for step in [1, 4, 7] {
            files.record(&record(step)).expect("a record");
        }
        let path = run.path().join("samples.jsonl");
        let read = || fs::read_to_string(&path).expect("records");
        let all = read();
        fs::write(&path, &all[..all.len() - 3]).expect("a torn record");
        drop(files);
        let mut files = SideFiles::open(run.path(), &log, "", 5).expect("files");
        files.record(&record(7)).expect("a record");
        assert_eq!(read(), all);
        let boards = fs::read_dir(run.path().join("tensorboard")).expect("a directory");
        assert_eq!(boards.count(), 2, "each start has an event file of its own");
    }

    /// A step of a model that is worth training takes 100 ms and more: 1 ms is a hundredth of it.
    #[test]
    fn writing_everything_about_a_step_takes_less_than_a_millisecond() {
        let run = tempfile::tempdir().expect("a directory");
        let log = LogSection {
            tensorboard: true,
            samples: 500,
        };
        let mut files = SideFiles::open(run.path(), &log, "", 0).expect("files");
        let values: Vec<f64> = (0..256).map(|sample| 1.0 + f64::from(sample) / 97.0).collect();
        let started = Instant::now();
        for step in 1..=500 {
            let samples = StepSamples {
                step,
                ids: (0..256).map(|sample| format!("train.jsonl:{sample}")).collect(),
                nll: values.clone(),
                z: values.clone(),
                weight: values.clone(),
            };
            files.record(&step_of_metrics(step)).expect("a step");
            files.record(&Event::Samples(samples)).expect("a record");
        }
        let micros = started.elapsed().as_micros() / 500;
        eprintln!("{micros} µs a step");
        assert!(micros < 1000, "{micros} µs a step");
    }

    fn step_of_metrics(step: usize) -> Event {
        Event::Step(StepMetrics {
            step,
            loss: 1.0,
            nll: 1.0,
            objective: "cadft",
            mean_gate: 1.0,
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
        })
    }

    #[test]
    fn nothing_is_written_that_was_not_asked_for() {
        let run = tempfile::tempdir().expect("a directory");
        let log = LogSection {
            samples: 0,
            tensorboard: false,
        };
        let mut files = SideFiles::open(run.path(), &log, "", 0).expect("files");
        files.record(&record(1)).expect("a record");
        assert_eq!(fs::read_dir(run.path()).expect("a directory").count(), 0);
    }
}
