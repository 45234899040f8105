//! What each of four ranks holds: moments, and gradients while the micro-batches of a step are computed, beside the plan.

use super::{Case, exact, run, tied};
use burn::tensor::Tensor;
use cadft_model::decoder::{Precision, Recompute};
use cadft_model::parameters::named_parameters;
use cadft_model::{BaseFormat, ModelConfig};
use cadft_step::Ranks;
use cadft_step::optimizer::{MomentFormat, OptimizerKind};
use cadft_step::ranks::{Local, Plane, Staged, ZeroStage, owned_values};
use cadft_tests::fixture;
use cadft_train::plan::memory::{MemorySettings, Share, held_values};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::thread;

const RANKS: usize = 4;

/// Values of gradients in the calls of one rank.
#[derive(Debug, Default)]
struct Seen {
    /// What it had when it gave, in the order of calls.
    given: Vec<usize>,
    /// What it kept of that.
    kept: Vec<usize>,
    /// Calls of the first step.
    first_step: Option<usize>,
}

/// A plane that counts gradients.
#[derive(Debug)]
struct Counted {
    plane: Staged,
    seen: Rc<RefCell<Seen>>,
}

impl Plane for Counted {
    fn sum(&self, values: Tensor<1>) -> Tensor<1> {
        // The norm is summed when all gradients are with their owners.
        let mut seen = self.seen.borrow_mut();
        let calls = seen.given.len();
        let _ = seen.first_step.get_or_insert(calls);
        self.plane.sum(values)
    }

    fn fold(&self, values: Tensor<1>, cuts: &[Range<usize>], present: &[bool]) -> Tensor<1> {
        let [given] = values.dims();
        let folded = self.plane.fold(values, cuts, present);
        let [kept] = folded.dims();
        let mut seen = self.seen.borrow_mut();
        seen.given.push(given);
        seen.kept.push(kept);
        folded
    }

    fn gather(&self, part: Tensor<1>, cuts: &[Range<usize>]) -> Tensor<1> {
        self.plane.gather(part, cuts)
    }
}

/// Values of moments, of gradients between micro-batches, and of all gradients at once at most.
fn held(case: &Case<'_>) -> Vec<[usize; 3]> {
    thread::scope(|scope| {
        let threads: Vec<_> = (Local::all(RANKS).into_iter())
            .map(|local| {
                scope.spawn(|| {
                    let seen = Rc::<RefCell<Seen>>::default();
                    let host: Rc<dyn cadft_step::ranks::Collective> = Rc::new(local);
                    let plane = Staged(host.clone());
                    let plane = Box::new(Counted {
                        plane,
                        seen: seen.clone(),
                    });
                    let left = run(case, &Ranks::with_plane(host, plane));
                    let of_moments = |(name, _): &(&String, &Vec<u32>)| !name.ends_with(".step");
                    let moments = left.moments.iter().filter(of_moments);
                    let [gradients, most] = peak(&seen.borrow(), case.stage);
                    [moments.map(|(_, values)| values.len()).sum(), gradients, most]
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a rank"))
            .collect()
    })
}

/// In the first step: what is held while the next micro-batch is computed, and what at most.
fn peak(seen: &Seen, stage: ZeroStage) -> [usize; 2] {
    let calls = seen.first_step.expect("a step");
    let (given, kept) = (&seen.given[..calls], &seen.kept[..calls]);
    match stage {
        // All of them, until they are given at the end.
        ZeroStage::One => [given.iter().sum(); 2],
        ZeroStage::Two => {
            // A round has a call for each block and one for the rest; later rounds add to what the first has left.
            let of_round = tied().model.layers.len() + 1;
            assert!(
                calls >= 2 * of_round && calls.is_multiple_of(of_round),
                "{calls} calls"
            );
            let before = |call: usize| kept[..call.min(of_round)].iter().sum::<usize>();
            let most = given
                .iter()
                .enumerate()
                .map(|(call, given)| before(call) + given)
                .max();
            [before(of_round), most.expect("calls")]
        }
    }
}

#[test]
fn each_rank_holds_the_moments_and_gradients_that_the_plan_counts() {
    let config = ModelConfig::from_file(&fixture("tiny-llama-tied").join("config.json")).expect("a config");
    let objective = exact();
    let sizes: Vec<[usize; 2]> = (named_parameters(&tied()).iter())
        .map(|parameter| [parameter.shape[0], parameter.shape.iter().product()])
        .collect();
    let trained: usize = sizes.iter().map(|[_, length]| length).sum();
    let owned = owned_values(&sizes, RANKS, RANKS);
    for stage in [ZeroStage::One, ZeroStage::Two] {
        let case = Case {
            recompute: Recompute::Blocks,
            stage,
            ..Case::new(&objective)
        };
        let settings = MemorySettings {
            adapter: None,
            base: BaseFormat::F32,
            recompute: case.recompute,
            precision: Precision::F32,
            tokens: 16,
            scored: 0,
            accumulates: true,
            keeps_reference: false,
            other: None,
            cached: 0,
            sequences: 0,
            kind: OptimizerKind::AdamW,
            moments: MomentFormat::F32,
            is_host: true,
            share: Share {
                ranks: RANKS,
                shards: case.shards,
                stage,
            },
        };
        let [moments, gradients] = held_values(&config, &settings);
        let found = held(&case);
        for (found, planned, what) in [
            (found.iter().map(|found| found[0]).max(), moments, "moments"),
            (found.iter().map(|found| found[1]).max(), gradients, "gradients"),
        ] {
            let ratio = found.unwrap_or(0) as f64 / planned;
            assert!(
                (0.95..=1.05).contains(&ratio),
                "{what} in {stage:?}: {ratio} of {planned}"
            );
        }
        for (rank, [moments, gradients, most]) in found.into_iter().enumerate() {
            assert_eq!(moments, 2 * owned[rank], "moments of rank {rank}");
            match stage {
                ZeroStage::One => assert_eq!([gradients, most], [trained; 2], "rank {rank}"),
                ZeroStage::Two => {
                    assert_eq!(gradients, owned[rank], "gradients of rank {rank}");
                    // And those of the largest part of the model.
                    assert!(most < trained, "rank {rank} holds {most} of {trained}");
                }
            }
        }
    }
}
