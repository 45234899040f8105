//! One global batch on several ranks: the results depend on the number of shards, not on the number of ranks.

mod held;

use super::models::{adapted, model, unequal};
use burn::tensor::Device;
use cadft_core::{AnyObjective, Normalisation, RunningMoments, Statistics};
use cadft_data::{Example, Packing};
use cadft_model::decoder::Recompute;
use cadft_model::parameters::{NamedTensor, named_parameters};
use cadft_model::{AdapterConfig, AdapterKind, CausalLm, TargetModules};
use cadft_step::batch::GlobalBatch;
use cadft_step::optimizer::MomentFormat;
use cadft_step::ranks::{Checked, Collective, Local, Sharing, ZeroStage, owned_values};
use cadft_step::{MicroBatching, Optimizer, OptimizerOptions, Ranks, Settled, StepSettings, StepState, step};
use cadft_tests::{Named, trained};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;

const STEPS: usize = 12;

/// The settings of a run, besides its ranks.
#[derive(Clone, Copy)]
struct Case<'a> {
    objective: &'a AnyObjective,
    shards: usize,
    micro: usize,
    packing: Packing,
    recompute: Recompute,
    stage: ZeroStage,
    model: fn() -> CausalLm,
    moments: MomentFormat,
    /// The step in which one sample has a NaN weight.
    broken: Option<usize>,
}

impl<'a> Case<'a> {
    fn new(objective: &'a AnyObjective) -> Self {
        Self {
            objective,
            shards: 4,
            micro: 1,
            packing: Packing::None,
            recompute: Recompute::None,
            stage: ZeroStage::One,
            model: tied,
            moments: MomentFormat::F32,
            broken: None,
        }
    }
}

fn tied() -> CausalLm {
    model("tiny-llama-tied", &Device::flex())
}

fn with_adapter(kind: AdapterKind) -> CausalLm {
    let adapter = AdapterConfig {
        kind,
        rank: 2,
        alpha: 4.0,
        dropout: 0.25,
        target_modules: TargetModules::Names(vec!["up_proj".to_owned(), "v_proj".to_owned()]),
        ..AdapterConfig::default()
    };
    adapted("tiny-llama-tied", &Device::flex(), &adapter)
}

/// All results of a run, bit for bit.
#[derive(Debug, PartialEq)]
struct Left {
    outcomes: Vec<String>,
    parameters: Named,
    moments: BTreeMap<String, Vec<u32>>,
    running: RunningMoments,
}

fn samples(step: usize, broken: bool) -> Vec<Example> {
    // Every fourth batch is the end of an epoch, with fewer samples than ranks.
    let count = if step % 4 == 3 { 2 } else { 9 };
    let mut samples = unequal(count);
    for (i, sample) in samples.iter_mut().enumerate() {
        let shift = (step * 5 + i) as u32;
        sample
            .token_ids
            .iter_mut()
            .for_each(|id| *id = (*id + shift) % 37);
        sample.weight = 1.0 + 0.5 * (i % 3) as f64;
    }
    if broken {
        samples[1].weight = f64::NAN;
    }
    samples
}

fn bits(tensors: &[NamedTensor]) -> BTreeMap<String, Vec<u32>> {
    let values = |tensor: &NamedTensor| tensor.to_data().iter::<f32>().map(f32::to_bits).collect();
    (tensors.iter())
        .map(|tensor| (tensor.name.clone(), values(tensor)))
        .collect()
}

/// The part of a run on one of its ranks.
fn run(case: &Case<'_>, ranks: &Ranks) -> Left {
    let mut model = (case.model)().with_recompute(case.recompute);
    let reference = model.reference();
    let options = OptimizerOptions {
        moments: case.moments,
        ..OptimizerOptions::default()
    };
    let mut state = StepState::new(Optimizer::new(&options), RunningMoments::new(0.9));
    let ranks = &ranks.clone().with_sharing(Sharing {
        shards: case.shards,
        stage: case.stage,
    });
    state.share(ranks, &model);
    let cut = MicroBatching {
        packing: case.packing,
        ..MicroBatching::rows(case.micro)
    };
    let mut outcomes = vec![];
    let mut note = |settled: Option<Settled>| {
        // The debug format shows all digits.
        outcomes.extend(settled.map(|settled| format!("{:?}", settled.outcome)));
    };
    for number in 0..STEPS {
        let samples = samples(number, case.broken == Some(number));
        let samples: Vec<&Example> = samples.iter().collect();
        let batch = GlobalBatch::dealt(&samples, ranks, &cut, &model.device());
        let batch = batch.compared_with(&reference, &samples, case.objective);
        let settings = StepSettings {
            objective: case.objective,
            reference: Some(&reference),
            normalisation: Normalisation::TokenMean,
            lr: 1e-2,
            clip: 0.5,
        };
        model.seed_dropout(1000 * number as u64);
        let begun = step::begin(&model, &batch, &settings, &mut state);
        note(begun.before.clone());
        model = begun.update(model, &mut state);
    }
    note(state.settle());
    Left {
        outcomes,
        parameters: trained(&model),
        moments: bits(&state.optimizer.state(&model)),
        running: state.running,
    }
}

/// The run on each of `ranks` ranks. The calls of the ranks are checked against each other.
fn on(ranks: usize, case: &Case<'_>) -> Vec<Left> {
    if ranks == 1 {
        return vec![run(case, &Ranks::solo())];
    }
    thread::scope(|scope| {
        let threads: Vec<_> = (Local::all(ranks).into_iter())
            .map(|rank| scope.spawn(|| run(case, &Ranks::new(Rc::new(Checked(rank))))))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a rank"))
            .collect()
    })
}

#[track_caller]
fn assert_same(what: &str, case: &Case<'_>, counts: &[usize]) {
    let [alone] = on(1, case).try_into().expect("one rank");
    assert_eq!(alone.outcomes.len(), STEPS);
    for &ranks in counts {
        let mut moments = BTreeMap::new();
        for (rank, found) in on(ranks, case).into_iter().enumerate() {
            assert_eq!(found.outcomes, alone.outcomes, "{what}, rank {rank} of {ranks}");
            assert!(
                found.parameters == alone.parameters,
                "{what}, parameters of rank {rank} of {ranks}"
            );
            assert_eq!(found.running, alone.running, "{what}, rank {rank} of {ranks}");
            for (name, values) in found.moments {
                // Each rank has a block of rows of large parameters; join the blocks.
                let known: &mut Vec<u32> = moments.entry(name.clone()).or_default();
                if name.ends_with(".step") && !known.is_empty() {
                    assert_eq!(*known, values, "{what}: `{name}`");
                } else {
                    known.extend(values);
                }
            }
        }
        assert!(moments == alone.moments, "{what}, moments of {ranks} ranks");
    }
}

fn exact() -> AnyObjective {
    AnyObjective::Cadft(cadft_core::Cadft::default())
}

fn running() -> AnyObjective {
    let mut cadft = cadft_core::Cadft::default();
    cadft.compatibility.statistics = Statistics::Running;
    AnyObjective::Cadft(cadft)
}

#[test]
fn every_objective_leaves_the_same_bits_on_1_2_and_4_ranks() {
    for name in AnyObjective::NAMES {
        let objective = AnyObjective::from_name(name).expect("a known objective");
        assert_same(name, &Case::new(&objective), &[2, 4]);
    }
    assert_same("running", &Case::new(&running()), &[2, 4]);
}

#[test]
fn six_shards_leave_the_same_bits_on_1_3_and_6_ranks() {
    for (name, objective) in [("exact", exact()), ("running", running())] {
        let case = Case {
            shards: 6,
            ..Case::new(&objective)
        };
        assert_same(&format!("six shards, {name}"), &case, &[3, 6]);
    }
}

#[test]
fn neither_cut_nor_packing_nor_recomputation_nor_adapters_change_that() {
    for (name, objective) in [("exact", exact()), ("running", running())] {
        let case = Case::new(&objective);
        let wide = Case { micro: 3, ..case };
        let packed = Case {
            packing: Packing::BestFit,
            ..wide
        };
        let recomputed = Case {
            recompute: Recompute::Blocks,
            ..packed
        };
        let lora = Case {
            model: || with_adapter(AdapterKind::Lora),
            ..wide
        };
        let dora = Case {
            model: || with_adapter(AdapterKind::Dora),
            recompute: Recompute::Blocks,
            ..case
        };
        let broken = Case {
            broken: Some(5),
            ..case
        };
        let rounded = Case {
            moments: MomentFormat::Bf16,
            broken: Some(6),
            ..wide
        };
        let on_host = Case {
            moments: MomentFormat::Host,
            ..case
        };
        for (what, case) in [
            ("moments in bf16, not a number on one rank", rounded),
            ("moments on the host", on_host),
            ("micro 3", wide),
            ("packed", packed),
            ("recomputed", recomputed),
            ("lora with dropout", lora),
            ("dora with dropout, recomputed", dora),
            ("not a number on one rank", broken),
        ] {
            assert_same(&format!("{what}, {name}"), &case, &[2, 4]);
        }
    }
}

#[test]
fn gradients_that_only_owners_keep_leave_the_same_bits() {
    for (name, objective) in [("exact", exact()), ("running", running())] {
        let case = Case {
            recompute: Recompute::Blocks,
            stage: ZeroStage::Two,
            ..Case::new(&objective)
        };
        let six = Case { shards: 6, ..case };
        let kept = Case {
            recompute: Recompute::None,
            ..case
        };
        let lora = Case {
            model: || with_adapter(AdapterKind::Lora),
            micro: 3,
            packing: Packing::BestFit,
            ..case
        };
        let broken = Case {
            broken: Some(5),
            ..case
        };
        let untied = Case {
            model: || model("tiny-llama-untied", &Device::flex()),
            ..case
        };
        for (what, case) in [
            ("stage 2", case),
            ("activations kept", kept),
            ("lora with dropout, packed", lora),
            ("not a number on one rank", broken),
            ("an output weight of its own", untied),
        ] {
            assert_same(&format!("{what}, {name}"), &case, &[2, 4]);
        }
        assert_same(&format!("stage 2, six shards, {name}"), &six, &[3, 6]);
        let one = Case { shards: 1, ..case };
        let before = Case {
            stage: ZeroStage::One,
            ..one
        };
        assert_eq!(run_alone(&one), run_alone(&before), "one shard, {name}");
    }
}

fn run_alone(case: &Case<'_>) -> Left {
    run(case, &Ranks::solo())
}

#[test]
fn large_parameters_are_shared_out_by_rows() {
    let objective = exact();
    let cut: Vec<String> = (on(4, &Case::new(&objective)).remove(0).moments.into_keys()).collect();
    let embedding = "model.embed_tokens.weight.exp_avg";
    assert!(cut.iter().any(|name| name == embedding), "{cut:?}");
    let rows = |ranks: usize| -> Vec<usize> {
        (on(ranks, &Case::new(&objective)).iter())
            .map(|left| left.moments.get(embedding).map_or(0, Vec::len))
            .collect()
    };
    let (one, four) = (rows(1)[0], rows(4));
    assert_eq!(four.iter().sum::<usize>(), one);
    assert!(
        four.iter().all(|&values| values > 0 && values < one / 2),
        "{four:?}"
    );
}

#[test]
fn ranks_have_the_moments_that_the_plan_counts() {
    let objective = exact();
    for (shards, ranks) in [(4, 4), (4, 2), (6, 3)] {
        let case = Case {
            shards,
            ..Case::new(&objective)
        };
        let sizes: Vec<[usize; 2]> = (named_parameters(&tied()).iter())
            .map(|parameter| [parameter.shape[0], parameter.shape.iter().product()])
            .collect();
        let planned = owned_values(&sizes, shards, ranks);
        let is_moment = |(name, _): &(&String, &Vec<u32>)| name.ends_with(".exp_avg_sq");
        let found: Vec<usize> = (on(ranks, &case).iter())
            .map(|left| {
                let moments = left.moments.iter().filter(is_moment);
                moments.map(|(_, values)| values.len()).sum()
            })
            .collect();
        assert_eq!(found, planned, "{shards} shards on {ranks} ranks");
    }
}

#[test]
fn a_step_that_is_not_finite_on_one_rank_is_left_out_on_all() {
    let objective = exact();
    let case = Case {
        broken: Some(STEPS - 1),
        ..Case::new(&objective)
    };
    for left in on(4, &case) {
        let last = left.outcomes.last().expect("outcomes");
        assert!(
            last.contains("loss: NaN") && last.contains("clip_factor: -1.0"),
            "{last}"
        );
        let counts = left.moments.iter().filter(|(name, _)| name.ends_with(".step"));
        for (name, count) in counts {
            assert_eq!(f32::from_bits(count[0]), (STEPS - 1) as f32, "{name}");
        }
    }
}

#[test]
fn one_shard_is_the_batch_that_is_not_dealt() {
    let objective = exact();
    let model = tied();
    let samples = samples(0, false);
    let samples: Vec<&Example> = samples.iter().collect();
    let cut = MicroBatching::rows(2);
    let whole = GlobalBatch::new(&samples, &cut, &model.device());
    let cuts: Vec<_> = cadft_step::batch::micro_batches(&samples, &cut, &model.device()).collect();
    assert_eq!(whole.micro.len(), cuts.len());
    for (found, expected) in whole.micro.iter().zip(cuts) {
        assert_eq!(found.samples, expected.samples);
        assert_eq!(found.token_ids.to_data(), expected.token_ids.to_data());
    }
    let two = Case {
        shards: 2,
        ..Case::new(&objective)
    };
    let one = Case {
        shards: 1,
        ..Case::new(&objective)
    };
    let [one, two] = [one, two].map(|case| on(1, &case).remove(0));
    assert_ne!(
        one.parameters, two.parameters,
        "sums in another order round otherwise"
    );
}

#[test]
fn ranks_that_part_ways_are_named() {
    let found: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (Local::all(2).into_iter())
            .map(|local| {
                scope.spawn(|| {
                    let ranks = Checked(local);
                    let parted = catch_unwind(AssertUnwindSafe(|| {
                        if ranks.rank() == 1 {
                            ranks.sum(&mut [1.0]);
                        } else {
                            ranks.sum(&mut [1.0, 2.0]);
                        }
                    }));
                    let panic = parted.expect_err("calls that differ");
                    panic.downcast_ref::<String>().cloned().unwrap_or_default()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("caught"))
            .collect()
    });
    assert_eq!(
        found[0],
        "ranks must make the same calls: rank 0 makes `sum of 2`, rank 1 makes `sum of 1`"
    );
}
