//! A run that is interrupted before, in or after a round continues as if it had not been interrupted.

use burn::tensor::Device;
use cadft_model::CausalLm;
use cadft_step::Ranks;
use cadft_train::rewrite::{
    Record, RewriteLog, Rewriting, RewritingState, RoundSummary, UndoRecord, read_log,
};
use cadft_train::run_files::REWRITES;
use cadft_train::{Prepared, Warning, config};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// An epoch is one step of four samples; a round takes place after every step from the second on.
fn prepared(directory: &Path) -> Prepared {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cadft-cli/assets/quickstart");
    let rows = fs::read_to_string(assets.join("train.jsonl")).expect("the quickstart's data");
    let rows: Vec<&str> = rows.lines().step_by(150).take(20).collect();
    let data = directory.join("train.jsonl");
    fs::write(&data, rows.join("\n") + "\n").expect("data");
    let recipe = format!(
        "[model]\npath = {assets:?}\n[data]\ntrain = [{data:?}]\nmax-length = 128\n[batch]\nglobal = 20\n\
         [schedule]\nsteps = 6\n[rewrite]\nwarmup = 2\nevery = 1\nfraction = 0.3\nprobability = 0.7\n\
         max-new-tokens = 48\nmax-per-sample = 2\n"
    );
    let recipe = config::parse("recipe", &recipe, &[]).expect("a recipe");
    Prepared::new(recipe, &device()).expect("it is prepared")
}

fn device() -> Device {
    let name = cadft_train::device::compiled()[0];
    cadft_train::device::parse(name).expect("a device")
}

/// Records scores that keep the first samples incompatible; every step has all samples.
fn observe(rewriting: &mut Rewriting, step: usize) {
    let samples: Vec<usize> = (0..20).collect();
    let z: Vec<f64> = (0..20)
        .map(|sample| 2.0 - 0.2 * f64::from(sample) + 0.01 * step as f64)
        .collect();
    rewriting.observe(&samples, &z);
}

/// A round, and a warning if there is one.
type Told = (RoundSummary, Option<Warning>);

fn round(rewriting: &mut Rewriting, step: usize, prepared: &Prepared, model: &CausalLm) -> Option<Told> {
    let go_on = AtomicBool::new(false);
    rewriting
        .round_after(step, prepared, model, &go_on)
        .expect("a round")
}

/// Does the remaining steps and rounds, after step `from`.
fn go_on(rewriting: &mut Rewriting, from: usize, prepared: &Prepared, model: &CausalLm) {
    for step in from..6 {
        let _ = round(rewriting, step, prepared, model);
        observe(rewriting, step + 1);
    }
}

/// State, log and tokens of every sample: everything that the next step depends on.
type Everything = (RewritingState, String, Vec<Vec<u32>>);

fn everything(rewriting: &Rewriting, prepared: &Prepared, run: &Path) -> Everything {
    let examples = (0..20).map(|sample| rewriting.example(sample, &prepared.train).token_ids.clone());
    let log = fs::read_to_string(run.join(REWRITES)).unwrap_or_default();
    (rewriting.state().clone(), log, examples.collect())
}

fn through_a_file(state: &RewritingState) -> RewritingState {
    serde_json::from_str(&serde_json::to_string(state).expect("JSON")).expect("the state")
}

struct Run {
    directory: TempDir,
    prepared: Prepared,
    model: CausalLm,
}

impl Run {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let prepared = prepared(directory.path());
        let model = prepared.model().expect("a model");
        Self {
            directory,
            prepared,
            model,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The uninterrupted run, with the state in the checkpoint after each step.
    fn uninterrupted(&self) -> (Vec<RewritingState>, Everything) {
        let mut rewriting = Rewriting::new(&Ranks::solo(), &self.prepared, self.path());
        let mut saved = vec![rewriting.state().clone()];
        for step in 0..6 {
            let _ = round(&mut rewriting, step, &self.prepared, &self.model);
            observe(&mut rewriting, step + 1);
            saved.push(rewriting.state().clone());
        }
        let end = everything(&rewriting, &self.prepared, self.path());
        fs::remove_file(self.path().join(REWRITES)).expect("the log");
        (saved, end)
    }

    fn resumed(&self, state: &RewritingState, from: usize) -> Everything {
        let mut rewriting =
            Rewriting::resume(&Ranks::solo(), &self.prepared, self.path(), through_a_file(state))
                .expect("it resumes");
        go_on(&mut rewriting, from, &self.prepared, &self.model);
        everything(&rewriting, &self.prepared, self.path())
    }
}

#[test]
fn a_resumed_run_rewrites_as_the_uninterrupted_one_whatever_became_of_the_log() {
    let run = Run::new();
    let (saved, end) = run.uninterrupted();
    let log = run.path().join(REWRITES);
    assert!(
        end.1.matches("\"decision\":\"replaced\"").count() > 2,
        "rounds that replace nothing show nothing:\n{}",
        end.1
    );
    let lines: Vec<&str> = end.1.lines().collect();
    for (step, state) in saved.iter().enumerate() {
        // The log removed, cut within a line, cut within a round, and with rounds that the checkpoint does not have.
        let cuts = [
            "".to_owned(),
            end.1[..end.1.len() / 2].to_owned(),
            lines[..lines.len() / 3].join("\n") + "\n",
            end.1.clone(),
        ];
        for cut in cuts {
            fs::write(&log, cut).expect("a log");
            assert_eq!(run.resumed(state, step), end, "resumed after step {step}");
        }
    }
}

#[test]
fn a_round_that_is_interrupted_changes_nothing_and_takes_place_later() {
    let run = Run::new();
    let (saved, end) = run.uninterrupted();
    let mut rewriting =
        Rewriting::resume(&Ranks::solo(), &run.prepared, run.path(), saved[2].clone()).expect("it resumes");
    let before = everything(&rewriting, &run.prepared, run.path());
    let stop = AtomicBool::new(true);
    let lines = rewriting
        .round_after(2, &run.prepared, &run.model, &stop)
        .expect("no error");
    assert_eq!(lines, None);
    assert!(rewriting.is_due(2), "no step may follow before it took place");
    assert_eq!(everything(&rewriting, &run.prepared, run.path()), before);
    go_on(&mut rewriting, 2, &run.prepared, &run.model);
    assert_eq!(everything(&rewriting, &run.prepared, run.path()), end);
}

#[test]
fn a_round_takes_place_once() {
    let run = Run::new();
    let mut rewriting = Rewriting::new(&Ranks::solo(), &run.prepared, run.path());
    (1..=2).for_each(|step| observe(&mut rewriting, step));
    assert_eq!(
        round(&mut rewriting, 1, &run.prepared, &run.model),
        None,
        "before the warm-up"
    );
    assert!(round(&mut rewriting, 2, &run.prepared, &run.model).is_some());
    assert_eq!(
        round(&mut rewriting, 2, &run.prepared, &run.model),
        None,
        "a second time"
    );
    assert_eq!(
        round(&mut rewriting, 6, &run.prepared, &run.model),
        None,
        "after the last step"
    );
}

#[test]
fn what_was_undone_stays_undone_when_a_run_is_resumed() {
    let run = Run::new();
    let (saved, end) = run.uninterrupted();
    let log = run.path().join(REWRITES);
    fs::write(&log, &end.1).expect("a log");
    let state = &saved[4];
    let rewritten = state.records.iter().find_map(|record| match record {
        Record::Sample(sample) if sample.new.is_some() && sample.reason.is_none() => {
            Some((sample.sample, sample.id.clone()))
        }
        _ => None,
    });
    let (sample, id) = rewritten.expect("a rewrite");
    let undo = Record::Undo(UndoRecord { sample, id });
    RewriteLog::open(&log)
        .expect("the log")
        .append(std::slice::from_ref(&undo))
        .expect("it is appended");
    let (resumed, ..) = run.resumed(state, 4);
    let after: Vec<&Record> = resumed.records[state.records.len()..].iter().collect();
    assert_eq!(after[0], &undo);
    let again = after
        .iter()
        .any(|record| matches!(record, Record::Sample(record) if record.sample == sample));
    assert!(!again, "it was chosen again");
    assert_eq!(read_log(&log).expect("a log"), *resumed.records);
}

#[test]
fn a_log_of_another_run_is_refused() {
    let run = Run::new();
    let (saved, end) = run.uninterrupted();
    fs::write(
        run.path().join(REWRITES),
        end.1.replacen("\"seed\":42", "\"seed\":43", 1),
    )
    .expect("a log");
    let error = Rewriting::resume(&Ranks::solo(), &run.prepared, run.path(), saved[5].clone())
        .expect_err("another run's log");
    assert!(error.to_string().contains("rewrites.jsonl:1"), "{error}");
}
