//! The same objective in a custom loop, and in a run that is interrupted and resumed.

use cadft_core::{Nll, Objective};
use cadft_model::{CausalLm, checkpoint};
use cadft_outside::{Focal, trained};
use cadft_train::resume::{self, Changes};
use cadft_train::{Event, Prepared, Recipe, RunDirectory, TrainError, config, device, train};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const FOCAL: Focal = Focal {
    name: "focal-2",
    gamma: 2.0,
    anchor: Some(0.05),
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/blackbox")
        .join(name)
}

/// An empty directory for the test `name`.
fn fresh(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("the directory of an earlier test");
    }
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// The weights as a file holds them.
fn bytes(model: &CausalLm, directory: &Path) -> Vec<u8> {
    let config = checkpoint::load(&fixture("model"), &model.device())
        .expect("the model")
        .config;
    checkpoint::save(directory, model, &config, &checkpoint::SaveOptions::default()).expect("it is saved");
    fs::read(directory.join("model.safetensors")).expect("weights")
}

#[test]
fn a_loop_of_ones_own_trains_with_an_objective_that_recipes_do_not_have() {
    let data = fixture("messages.jsonl");
    let run = |objective: &dyn Objective| trained(&fixture("model"), &data, objective, 6).expect("it trains");
    let (_, outcomes) = run(&FOCAL);
    for outcome in &outcomes {
        assert_eq!(outcome.not_finite(), None);
        assert!(
            outcome.divergence_sum.is_some(),
            "it looks at the reference model"
        );
    }
    let [first, last] = [&outcomes[0], &outcomes[5]].map(|outcome| outcome.loss);
    assert!(last < first, "{last} after, {first} before");

    // With γ = 0 every gate is 1, which is the negative log-likelihood, bit for bit.
    let directory = fresh("loop");
    let flat = Focal {
        name: "flat",
        gamma: 0.0,
        anchor: None,
    };
    let (own, nll) = (run(&flat).0, run(&Nll {}).0);
    assert!(bytes(&own, &directory.join("own")) == bytes(&nll, &directory.join("nll")));
}

/// A recipe of ten steps with a checkpoint after the fifth. The first two steps are NLL.
fn recipe(objective: Focal) -> Recipe {
    let text = format!(
        "[model]\npath = '{}'\n[data]\ntrain = ['{}']\neval = ['{}']\ncache = 'off'\norder = 'sequential'\n\
         [batch]\nglobal = 8\nmicro = 4\n[optimizer]\nlr = 1e-3\n[schedule]\nsteps = 10\n\
         [loss]\nstart = 'nll'\nstart-until = 2.0\n[checkpoint]\nevery = 5\n[evaluate]\nevery = 4\n",
        fixture("model").display(),
        fixture("messages.jsonl").display(),
        fixture("eval.jsonl").display(),
    );
    let recipe = config::parse("outside", &text, &[]).expect("a recipe");
    recipe.with_objective(Box::new(objective)).expect("a name")
}

fn prepared(objective: Focal) -> Prepared {
    let device = device::parse("flex").expect("a device");
    Prepared::new(recipe(objective), &device).expect("model and data")
}

/// Trains to the end, or until step `until` is reported.
fn run(prepared: &Prepared, directory: &mut RunDirectory, until: usize) -> Vec<String> {
    let stop = AtomicBool::new(false);
    let mut objectives = vec![];
    let model = prepared.model().expect("a model");
    train(prepared, model, directory, &stop, &mut |event| {
        if let Event::Step(metrics) = event {
            objectives.push(metrics.objective.clone());
            stop.store(metrics.step >= until, Ordering::Relaxed);
        }
    })
    .expect("it trains");
    objectives
}

/// The lines of `metrics.jsonl` without values that depend on time or paths.
fn metrics(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines = text
        .lines()
        .filter(|line| !line.contains("\"event\":\"finished\""));
    let timed =
        |part: &&str| !part.contains("_per_sec") && !part.contains("rss_mib") && !part.contains("_secs");
    lines
        .map(|line| line.split(',').filter(timed).collect::<Vec<_>>().join(","))
        .collect()
}

#[test]
fn a_run_with_it_is_resumed_to_the_same_bytes_and_by_its_name_only() {
    let directory = fresh("run");
    let (whole, broken) = (directory.join("whole"), directory.join("broken"));
    let prepared_focal = prepared(FOCAL);
    assert_eq!(prepared_focal.plan.objective, "focal-2");
    let mut open = RunDirectory::create(&whole, &prepared_focal.recipe, "flex").expect("a directory");
    let objectives = run(&prepared_focal, &mut open, 99);
    assert_eq!(objectives[..2], ["nll", "nll"]);
    assert_eq!(objectives[2..], ["focal-2"; 8]);
    let resolved = fs::read_to_string(whole.join("config.resolved.toml")).expect("the recipe");
    assert!(resolved.contains("[objective.focal-2]"), "{resolved}");

    let mut open = RunDirectory::create(&broken, &prepared_focal.recipe, "flex").expect("a directory");
    assert_eq!(run(&prepared_focal, &mut open, 7).len(), 7);
    drop(open);
    let found = resume::at(&broken).expect("a checkpoint");
    let checkpoint = found.checkpoint.expect("a checkpoint");

    let other = prepared(Focal {
        name: "focal-3",
        ..FOCAL
    });
    let refused = RunDirectory::resume(&broken, &other, "flex", checkpoint.clone(), Changes::Refused)
        .expect_err("another name is another objective");
    let TrainError::Resume { message, hint } = refused else {
        panic!("{refused}");
    };
    assert!(
        message.contains("`objective`: was `focal-2`, is `focal-3`"),
        "{message}"
    );
    let hint = hint.expect("what to do");
    assert!(
        hint.contains("the program that has the objective `focal-2`"),
        "{hint}"
    );

    let again = prepared(FOCAL);
    let mut open =
        RunDirectory::resume(&broken, &again, "flex", checkpoint, Changes::Refused).expect("the same run");
    assert_eq!(run(&again, &mut open, 99).len(), 3);
    assert_eq!(metrics(&broken), metrics(&whole));
    let weights = |run: &Path| fs::read(run.join("model/model.safetensors")).expect("a model");
    assert!(weights(&broken) == weights(&whole), "the weights differ");
}
