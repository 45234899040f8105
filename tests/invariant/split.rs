//! Micro-batches, padding and order of the samples in a global batch.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use cadft_core::{AnyObjective, Normalisation, Objective, RunningMoments};
use cadft_data::{Bucketing, Example, Origin, Packing};
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use cadft_step::MicroBatching;
use cadft_step::StepOutcome;
use cadft_step::batch::GlobalBatch;
use cadft_step::step::{Backward, StepSettings, backward};
use cadft_tests::arrays::values;
use cadft_tests::{REORDERED, REORDERED_GRADIENT, REORDERED_WEIGHT, devices};
use proptest::prelude::*;

fn objective(name: &str) -> AnyObjective {
    AnyObjective::from_name(name).expect("a known objective")
}

fn model(device: &Device) -> CausalLm {
    super::models::model("tiny-llama-tied", device)
}

/// Eight samples of different lengths, with different data weights.
fn examples(seed: u32) -> Vec<Example> {
    (0..8u32)
        .map(|i| {
            let length = 3 + ((i * 5 + seed) % 9) as usize;
            let token_ids = (0..length as u32)
                .map(|t| (t * 31 + i * 17 + seed * 7) % 67)
                .collect();
            let loss_mask: Vec<bool> = (0..length)
                .map(|t| t > 0 && !(t as u32 + i + seed).is_multiple_of(4))
                .collect();
            let loss_mask = if loss_mask.contains(&true) {
                loss_mask
            } else {
                vec![false, true, true]
            };
            Example {
                id: format!("{i}"),
                weight: 1.0 + f64::from(i % 3) * 0.5,
                token_ids,
                prompt_len: 1,
                loss_mask,
                answer: None,
                origin: Origin::default(),
            }
        })
        .collect()
}

struct Setting<'a> {
    objective: &'a AnyObjective,
    normalisation: Normalisation,
    micro: usize,
    max_tokens: Option<usize>,
    bucketing: Bucketing,
    packing: Packing,
    running: RunningMoments,
}

impl<'a> Setting<'a> {
    fn exact(objective: &'a AnyObjective, micro: usize) -> Self {
        Self {
            objective,
            normalisation: Normalisation::TokenMean,
            micro,
            max_tokens: None,
            bucketing: Bucketing::ByLength,
            packing: Packing::None,
            running: RunningMoments::new(0.99),
        }
    }

    fn run(&self, model: &CausalLm, examples: &[Example]) -> (StepOutcome, Vec<Vec<f64>>) {
        let before = super::models::model("tiny-llama-untied", &model.device().inner()).reference();
        let reference = (self.objective.reference()).map(|_| before.clone());
        let section = MicroBatching {
            micro: self.micro,
            max_tokens: self.max_tokens,
            bucketing: self.bucketing,
            packing: self.packing,
        };
        let samples: Vec<&Example> = examples.iter().collect();
        let batch = GlobalBatch::new(&samples, &section, &model.device());
        let batch = batch.compared_with(&before, &samples, self.objective);
        let settings = StepSettings {
            objective: self.objective,
            reference: reference.as_ref(),
            normalisation: self.normalisation,
            lr: 1.0,
            clip: 1.0,
        };
        let Backward {
            gradients, outcome, ..
        } = backward(model, &batch, &settings, &self.running);
        let mut all = Gradients {
            gradients: &gradients,
            found: vec![],
        };
        model.visit(&mut all);
        (outcome, all.found)
    }
}

struct Gradients<'a> {
    gradients: &'a ParamGradients,
    found: Vec<Vec<f64>>,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.found
                .push(values(self.gradients.get::<D>(param.id).expect("a gradient")));
        }
    }
}

#[track_caller]
fn assert_same(what: &str, found: &(StepOutcome, Vec<Vec<f64>>), expected: &(StepOutcome, Vec<Vec<f64>>)) {
    let scalars = |outcome: &StepOutcome| {
        [
            outcome.loss,
            outcome.nll_sum,
            outcome.gate_sum,
            outcome.standardiser.mean,
            outcome.standardiser.std,
            outcome.grad_norm,
        ]
    };
    for (found, expected) in scalars(&found.0).iter().zip(scalars(&expected.0)) {
        REORDERED.assert_close(what, &[*found], &[expected]);
    }
    REORDERED.assert_close(&format!("{what}: scores"), &found.0.scores, &expected.0.scores);
    REORDERED_WEIGHT.assert_close(&format!("{what}: weights"), &found.0.weights, &expected.0.weights);
    for (index, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
        REORDERED_GRADIENT.assert_close(&format!("{what}: gradient {index}"), found, expected);
    }
}

const NORMALISATIONS: [Normalisation; 3] = [
    Normalisation::TokenMean,
    Normalisation::SampleMean,
    Normalisation::SampleSum,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn the_micro_batch_split_changes_neither_loss_nor_weights_nor_any_gradient(seed in 0u32..1000) {
        for (_, device) in devices() {
            let model = model(&device);
            let examples = examples(seed);
            for name in AnyObjective::NAMES {
                let objective = objective(name);
                // These two objectives have every factor of the loss, so only they use all normalisations.
                let some = if ["cadft", "asft"].contains(name) { 3 } else { 1 };
                for normalisation in NORMALISATIONS.into_iter().take(some) {
                    let run = |micro| Setting { normalisation, ..Setting::exact(&objective, micro) }.run(&model, &examples);
                    let whole = run(8);
                    for micro in [1, 2, 4] {
                        assert_same(&format!("{name} {normalisation:?} micro {micro}"), &run(micro), &whole);
                    }
                }
            }
        }
    }

    #[test]
    fn packing_and_token_budgets_change_neither_scores_nor_weights_nor_any_gradient(
        seed in 0u32..1000,
        max_tokens in 4usize..40,
    ) {
        for (_, device) in devices() {
            let model = model(&device);
            let examples = examples(seed);
            for name in AnyObjective::NAMES {
                let objective = objective(name);
                let alone = Setting { packing: Packing::None, ..Setting::exact(&objective, 1) }.run(&model, &examples);
                for (packing, micro, max_tokens) in [
                    (Packing::PaddingFree, 3, None),
                    (Packing::PaddingFree, 1, Some(max_tokens)),
                    (Packing::BestFit, 2, None),
                    (Packing::BestFit, 8, None),
                    (Packing::BestFit, 1, Some(max_tokens)),
                    (Packing::None, 1, Some(max_tokens)),
                ] {
                    let found = Setting { packing, max_tokens, ..Setting::exact(&objective, micro) }.run(&model, &examples);
                    assert_same(&format!("{name} {packing:?} {micro} {max_tokens:?}"), &found, &alone);
                }
            }
        }
    }

    #[test]
    fn order_and_position_in_the_batch_change_nothing(seed in 0u32..1000, rotate in 1usize..8) {
        for (_, device) in devices() {
            let model = model(&device);
            let objective = objective("cadft");
            let samples = examples(seed);
            let mut rotated = samples.clone();
            rotated.rotate_left(rotate);
            let (mut found, gradients) = Setting::exact(&objective, 2).run(&model, &rotated);
            found.scores.rotate_right(rotate);
            found.weights.rotate_right(rotate);
            assert_same("rotated", &(found, gradients), &Setting::exact(&objective, 2).run(&model, &samples));
        }
    }
}

#[test]
fn padding_changes_nothing() {
    for (_, device) in devices() {
        let model = model(&device);
        let objective = objective("cadft");
        // Micro-batches of two: by length, almost no padding; unsorted, much padding. One at a time: none.
        let samples = examples(3);
        let none = Setting::exact(&objective, 1).run(&model, &samples);
        for bucketing in [Bucketing::ByLength, Bucketing::None] {
            let padded = Setting {
                bucketing,
                ..Setting::exact(&objective, 4)
            }
            .run(&model, &samples);
            assert_same(&format!("{bucketing:?}"), &padded, &none);
        }
    }
}

#[test]
fn with_experts_or_a_state_split_padding_and_order_change_nothing_and_a_repeated_step_no_bit() {
    for (_, device) in devices() {
        for name in [
            "tiny-qwen3-moe-untied",
            "tiny-olmoe-tied",
            "tiny-qwen3-5-untied",
            "tiny-gemma4-tied",
        ] {
            let model = super::models::model(name, &device);
            let objective = objective("cadft");
            let mut samples = examples(4);
            for id in samples.iter_mut().flat_map(|sample| &mut sample.token_ids) {
                *id %= 41;
            }
            let whole = Setting::exact(&objective, 8).run(&model, &samples);
            assert_eq!(
                Setting::exact(&objective, 8).run(&model, &samples).1,
                whole.1,
                "{name}: repeated"
            );
            for (packing, micro) in [
                (Packing::None, 1),
                (Packing::None, 3),
                (Packing::PaddingFree, 2),
                (Packing::BestFit, 8),
            ] {
                let setting = Setting {
                    packing,
                    ..Setting::exact(&objective, micro)
                };
                assert_same(
                    &format!("{name} {packing:?} {micro}"),
                    &setting.run(&model, &samples),
                    &whole,
                );
            }
            let mut rotated = samples.clone();
            rotated.rotate_left(3);
            let (mut found, gradients) = Setting::exact(&objective, 8).run(&model, &rotated);
            found.scores.rotate_right(3);
            found.weights.rotate_right(3);
            assert_same(&format!("{name}: order"), &(found, gradients), &whole);
        }
    }
}

#[test]
fn cadft_with_beta_0_is_dft() {
    for (_, device) in devices() {
        let model = model(&device);
        let samples = examples(5);
        let mut cadft = cadft_core::Cadft::default();
        cadft.compatibility.beta = 0.0;
        let cadft = AnyObjective::Cadft(cadft);
        let dft = objective("dft");
        for micro in [2, 8] {
            let (a, b) = (Setting::exact(&cadft, micro), Setting::exact(&dft, micro));
            assert_same("beta 0", &a.run(&model, &samples), &b.run(&model, &samples));
        }
    }
}

#[test]
fn cadft_with_equal_scores_is_dft() {
    for (_, device) in devices() {
        let model = model(&device);
        let sample = examples(5).remove(2);
        let samples = vec![sample; 8];
        let (cadft, dft) = (objective("cadft"), objective("dft"));
        let (found, expected) = (
            Setting::exact(&cadft, 2).run(&model, &samples),
            Setting::exact(&dft, 2).run(&model, &samples),
        );
        // If all scores are equal, the standardised score is exactly 0, and the weight exactly 1.
        assert_eq!(found.0.weights, [1.0; 8]);
        assert_same("equal scores", &found, &expected);
    }
}

#[test]
fn running_statistics_of_a_constant_stream_equal_exact_ones() {
    for (_, device) in devices() {
        let model = model(&device);
        let samples = examples(11);
        let exact = objective("cadft");
        let mut running = cadft_core::Cadft::default();
        running.compatibility.statistics = cadft_core::Statistics::Running;
        let running = AnyObjective::Cadft(running);
        let expected = Setting::exact(&exact, 2).run(&model, &samples);
        let mut moments = RunningMoments::new(0.99);
        for _ in 0..5 {
            let found = Setting {
                running: moments,
                ..Setting::exact(&running, 2)
            }
            .run(&model, &samples);
            assert_same("running", &found, &expected);
            moments.update(&found.0.scores.iter().copied().collect());
        }
    }
}
