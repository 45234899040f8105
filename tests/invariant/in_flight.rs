//! Overlapping steps: one step is in flight while the next begins, and the results are the same.

use super::models::{model, unequal};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use cadft_core::{AnyObjective, Cadft, Normalisation, RunningMoments, Statistics};
use cadft_data::{Bucketing, Example, Packing};
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use cadft_step::StepOutcome;
use cadft_step::batch::GlobalBatch;
use cadft_step::clip::{clip_factor, squares};
use cadft_step::optimizer::Optimizer;
use cadft_step::step::{StepSettings, StepState, backward, begin, step};
use cadft_step::{MicroBatching, OptimizerOptions};
use cadft_tests::{Named, devices, trained};
use cadft_train::config;
use cadft_train::resume::Changes;
use cadft_train::{Event, Prepared, RunDirectory, checkpoint, train};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Less than the norms of these gradients, so that they are clipped.
const CLIP: f64 = 1e-3;

/// The kind of a step, set by the weights of its rows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Good,
    /// The loss is NaN.
    Lost,
    /// The loss is finite, but the gradient norm is not.
    Steep,
}

use Kind::{Good, Lost, Steep};

fn batch(model: &CausalLm, number: usize, micro: usize, kind: Kind) -> GlobalBatch {
    let mut examples = unequal(8);
    examples.rotate_left(number % 8);
    let examples: Vec<&Example> = examples.iter().take(6).collect();
    let section = MicroBatching {
        micro,
        bucketing: Bucketing::ByLength,
        packing: Packing::None,
        max_tokens: None,
    };
    let mut batch = GlobalBatch::new(&examples, &section, &model.device());
    match kind {
        Good => {}
        Lost => batch.data_weights[2] = f64::NAN,
        Steep => batch.data_weights.fill(1e30),
    }
    batch
}

fn running() -> AnyObjective {
    let mut cadft = Cadft::default();
    cadft.compatibility.statistics = Statistics::Running;
    AnyObjective::Cadft(cadft)
}

fn settings(objective: &AnyObjective) -> StepSettings<'_> {
    StepSettings {
        objective,
        reference: None,
        normalisation: Normalisation::TokenMean,
        lr: 1e-3,
        clip: CLIP,
    }
}

fn state() -> StepState {
    StepState::new(
        Optimizer::new(&OptimizerOptions::default()),
        RunningMoments::new(0.9),
    )
}

/// The state after some steps, bit for bit.
#[derive(Debug, PartialEq)]
struct Left {
    weights: Named,
    moments: Vec<(String, Vec<u32>)>,
    running: RunningMoments,
}

fn left(model: &CausalLm, state: &StepState) -> Left {
    let moments = state.optimizer.state(model);
    let bits = |tensor: &cadft_train::checkpoint::tensors::NamedTensor| {
        tensor.to_data().iter::<f32>().map(f32::to_bits).collect()
    };
    Left {
        weights: trained(model),
        moments: (moments.iter().map(|tensor| (tensor.name.clone(), bits(tensor)))).collect(),
        running: state.running,
    }
}

/// Waits for every step before the next.
fn one_by_one(
    device: &Device,
    objectives: &[AnyObjective],
    micro: usize,
    kinds: &[Kind],
) -> (Left, Vec<StepOutcome>) {
    let (mut model, mut state, mut outcomes) = (model("tiny-llama-tied", device), state(), vec![]);
    for (number, (&kind, objective)) in kinds.iter().zip(objectives.iter().cycle()).enumerate() {
        let batch = batch(&model, number, micro, kind);
        let outcome;
        (model, outcome) = step(model, &batch, &settings(objective), &mut state);
        outcomes.push(outcome);
    }
    (left(&model, &state), outcomes)
}

/// Begins each step while the previous one is in flight.
fn overlapping(
    device: &Device,
    objectives: &[AnyObjective],
    micro: usize,
    kinds: &[Kind],
) -> (Left, Vec<StepOutcome>) {
    let (mut model, mut state, mut outcomes) = (model("tiny-llama-tied", device), state(), vec![]);
    for (number, (&kind, objective)) in kinds.iter().zip(objectives.iter().cycle()).enumerate() {
        let batch = batch(&model, number, micro, kind);
        let begun = begin(&model, &batch, &settings(objective), &mut state);
        outcomes.extend(begun.before.clone().map(|settled| settled.outcome));
        model = begun.update(model, &mut state);
    }
    outcomes.extend(state.settle().map(|settled| settled.outcome));
    assert!(state.settle().is_none(), "nothing is in flight");
    (left(&model, &state), outcomes)
}

fn named(name: &str) -> AnyObjective {
    AnyObjective::from_name(name).expect("a known objective")
}

#[test]
fn steps_that_overlap_are_those_that_are_waited_for() {
    let device = cadft_train::device::parse("flex").expect("the CPU");
    let [nll, cadft, running] = [named("nll"), named("cadft"), running()];
    for objectives in [
        vec![nll.clone()],
        vec![cadft],
        vec![running.clone()],
        vec![nll, running],
    ] {
        for micro in [6, 2] {
            for kinds in [
                [Good; 6],
                [Good, Good, Lost, Good, Good, Steep],
                [Lost, Steep, Good, Good, Lost, Good],
            ] {
                let (expected, outcomes) = one_by_one(&device, &objectives, micro, &kinds);
                let (found, of_overlapping) = overlapping(&device, &objectives, micro, &kinds);
                // As text, because NaN is not equal to itself.
                assert_eq!(format!("{of_overlapping:?}"), format!("{outcomes:?}"));
                assert_eq!(found, expected, "{objectives:?} {micro} {kinds:?}");
                for (outcome, kind) in outcomes.iter().zip(kinds) {
                    let (what, factor) = match kind {
                        Good => (None, 0.0..1.0),
                        Lost => (Some("loss"), -1.0..0.0),
                        Steep => (Some("gradient norm"), -1.0..0.0),
                    };
                    assert!(factor.contains(&outcome.clip_factor), "{kinds:?}: {outcome:?}");
                    assert_eq!(outcome.not_finite(), what, "{kinds:?}");
                }
            }
        }
    }
}

#[test]
fn a_step_that_is_left_out_leaves_what_would_be_there_without_it() {
    for (name, device) in devices() {
        for objective in [named("nll"), named("cadft"), running()] {
            let objectives = [objective];
            for kinds in [[Lost, Good, Good], [Good, Steep, Good], [Good, Good, Lost]] {
                let (found, _) = overlapping(&device, &objectives, 3, &kinds);
                // The same steps with the same batches, without the skipped one.
                let (mut model, mut state) = (model("tiny-llama-tied", &device), state());
                for (number, _) in kinds.iter().enumerate().filter(|(_, kind)| **kind == Good) {
                    let batch = batch(&model, number, 3, Good);
                    let begun = begin(&model, &batch, &settings(&objectives[0]), &mut state);
                    model = begun.update(model, &mut state);
                }
                let _ = state.settle();
                assert_eq!(found, left(&model, &state), "{name}: {kinds:?}");
            }
        }
    }
}

#[test]
fn the_factor_of_clipping_is_negative_where_something_is_not_finite() {
    for (name, device) in devices() {
        let factor = |squares: &[f32], loss: f32, max: f64| {
            let tensor = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
            let factor = clip_factor(tensor(squares), tensor(&[loss]), max);
            factor.into_data().iter::<f32>().collect::<Vec<f32>>()
        };
        assert_eq!(factor(&[0.0, 0.0], 1.0, 1.0), [1.0], "{name}");
        assert_eq!(factor(&[0.36, 0.63], 1.0, 1.0), [1.0], "{name}");
        let halved = factor(&[9.0, 7.0], -1.0, 2.0)[0];
        assert!((halved - 0.5).abs() < 1e-6, "{name}: {halved}");
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(factor(&[1.0, value, 1.0], 1.0, 1.0), [-1.0], "{name}: {value}");
            assert_eq!(factor(&[1.0], value, 1.0), [-1.0], "{name}: loss {value}");
        }
        assert_eq!(factor(&[3e38, 3e38], 1.0, 1.0), [-1.0], "{name}: a sum too large");
    }
}

/// Multiplies gradients by a number.
struct Scaled<'a> {
    gradients: &'a ParamGradients,
    by: f32,
    found: ParamGradients,
}

impl ModuleVisitor for Scaled<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id).expect("a gradient");
        self.found.register::<D>(param.id, gradient.mul_scalar(self.by));
    }
}

fn scaled(model: &CausalLm, gradients: &ParamGradients, by: f32) -> ParamGradients {
    let mut scaled = Scaled {
        gradients,
        by,
        found: ParamGradients::new(),
    };
    model.visit(&mut scaled);
    scaled.found
}

#[test]
fn the_update_multiplies_the_gradient_by_the_factor_and_does_nothing_where_that_is_negative() {
    for (name, device) in devices() {
        let model = model("tiny-llama-tied", &device);
        let (nll, moments) = (named("nll"), RunningMoments::new(0.9));
        let gradients = backward(&model, &batch(&model, 0, 6, Good), &settings(&nll), &moments).gradients;
        let factor = |value: f32| Tensor::<1>::from_floats([value], &device);
        let gradient = |by: f32| scaled(&model, &gradients, by);
        let mut state = state();
        let mut optimizer = Optimizer::new(&OptimizerOptions::default());
        // Multiplication by a power of two is exact.
        let expected = optimizer.step(1e-3, model.clone(), gradient(0.25), factor(1.0));
        let found = (state.optimizer).step(1e-3, model.clone(), gradient(1.0), factor(0.25));
        let after_one = left(&found, &state);
        assert_eq!(after_one.weights, trained(&expected), "{name}");
        assert_ne!(after_one.weights, trained(&model), "{name}");

        let found = (state.optimizer).step(1e-3, found, gradient(f32::NAN), factor(-1.0));
        state.optimizer.left_out();
        assert_eq!(left(&found, &state), after_one, "{name}");

        let expected = optimizer.step(1e-3, expected, gradient(1.0), factor(1.0));
        let found = (state.optimizer).step(1e-3, found, gradient(1.0), factor(1.0));
        assert_eq!(trained(&found), trained(&expected), "{name}");
    }
}

#[test]
fn the_norm_is_that_of_all_gradients_together() {
    for (name, device) in devices() {
        let model = model("tiny-llama-tied", &device);
        let (nll, moments) = (named("nll"), RunningMoments::new(0.9));
        let found = backward(&model, &batch(&model, 0, 6, Good), &settings(&nll), &moments);
        let squares = squares(&model, &found.gradients).expect("gradients");
        let sum: f64 = squares.into_data().iter::<f64>().sum();
        assert_eq!(found.outcome.grad_norm, sum.sqrt(), "{name}");
        let expected = CLIP / (sum.sqrt() + 1e-6);
        let error = found.outcome.clip_factor / expected - 1.0;
        assert!(expected < 1.0 && error.abs() < 1e-6, "{name}: {error}");
    }
}

/// A run of nine steps with evaluations and checkpoints.
struct Run<'a> {
    directory: TempDir,
    prepared: Prepared,
    device: &'a str,
}

impl<'a> Run<'a> {
    fn new(name: &'a str, device: &Device) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cadft-cli/assets/quickstart");
        let rows = fs::read_to_string(assets.join("train.jsonl")).expect("the quickstart's data");
        let rows: Vec<&str> = rows.lines().take(8).collect();
        let data = directory.path().join("train.jsonl");
        fs::write(&data, rows.join("\n") + "\n").expect("data");
        let recipe = format!(
            "[model]\npath = {assets:?}\n[data]\ntrain = [{data:?}]\neval = [{data:?}]\nmax-length = 64\n[batch]\n\
             global = 4\n[schedule]\nsteps = 9\n[evaluate]\nevery = 2\n[checkpoint]\nevery = 3\nkeep = 9\n"
        );
        let recipe = config::parse("recipe", &recipe, &[]).expect("a recipe");
        Self {
            directory,
            prepared: Prepared::new(recipe, device).expect("it is prepared"),
            device: name,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Begins or resumes the run, and stops it at the event of step `last`. Returns its events.
    fn until(&self, last: usize) -> Vec<String> {
        let (prepared, path) = (&self.prepared, self.path());
        let mut run = if path.exists() {
            let (from, _) = checkpoint::newest(&path).expect("checkpoints");
            let from = from.expect("a checkpoint");
            RunDirectory::resume(&path, prepared, self.device, from, Changes::Refused)
        } else {
            RunDirectory::create(&path, &prepared.recipe, self.device)
        }
        .expect("a directory");
        let (stop, mut events) = (AtomicBool::new(false), vec![]);
        let model = prepared.model().expect("a model");
        let summary = train(prepared, model, &mut run, &stop, &mut |event| match event {
            Event::Step(metrics) => {
                // After the last step, it would interrupt the final evaluation.
                stop.store(metrics.step == last && last < 9, Ordering::Relaxed);
                events.push(format!("step {}", metrics.step));
            }
            Event::Evaluated { step, .. } => events.push(format!("evaluated {step}")),
            _ => {}
        })
        .expect("a run");
        assert_eq!(
            (summary.steps, summary.interrupted),
            (last, last < 9),
            "{}",
            self.device
        );
        events
    }

    /// The weights and moments in the checkpoint of a step.
    fn checkpoint(&self, step: usize) -> [Vec<u8>; 2] {
        let checkpoint = self.path().join(format!("checkpoints/step-{step:06}"));
        ["model.safetensors", "training/optimizer.safetensors"]
            .map(|file| fs::read(checkpoint.join(file)).expect("a file"))
    }
}

#[test]
fn a_run_tells_every_step_in_its_place_and_ends_with_the_one_that_stops_it() {
    let device = cadft_train::device::parse("flex").expect("the CPU");
    let whole = Run::new("flex", &device);
    let events = whole.until(9);
    let expected = [
        "evaluated 0",
        "step 1",
        "step 2",
        "evaluated 2",
        "step 3",
        "step 4",
        "evaluated 4",
        "step 5",
        "step 6",
        "evaluated 6",
        "step 7",
        "step 8",
        "evaluated 8",
        "step 9",
        "evaluated 9",
    ];
    assert_eq!(events, expected);
    // When step 7 is reported, step 8 has begun but has not updated the model.
    let stopped = Run::new("flex", &device);
    let mut events = stopped.until(7);
    events.extend(stopped.until(9));
    assert_eq!(events, expected);
    assert!(stopped.checkpoint(9) == whole.checkpoint(9), "another end");
}

#[test]
fn a_checkpoint_holds_nothing_of_the_steps_that_run_while_it_is_written() {
    for (name, device) in devices() {
        // The first run ends at its checkpoint.
        let [alone, beside] = [3, 5].map(|last| {
            let run = Run::new(name, &device);
            let _ = run.until(last);
            run.checkpoint(3)
        });
        assert!(alone == beside, "{name}: the checkpoints of step 3 differ");
    }
}
