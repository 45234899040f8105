//! Moments in host memory: what they hold, what restores them, and what they do not depend on.

use super::*;
use crate::optimizer::{Optimizer, OptimizerOptions};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use cadft_model::ParamGradients;
use std::collections::BTreeMap;

const FORMATS: [MomentFormat; 4] = [
    MomentFormat::F32,
    MomentFormat::Bf16,
    MomentFormat::Int8,
    MomentFormat::Host,
];

/// A matrix of more values than one task has, a smaller one in 8 bits too, and a vector.
#[derive(Module, Debug)]
struct Parameters {
    large: Param<Tensor<2>>,
    small: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

fn drawn(count: usize, seed: u64) -> Vec<f32> {
    let noise = Noise::new(seed, 0, 0);
    let unit = |at| noise.at(at) as f32 / (1u32 << 31) as f32 - 1.0;
    // Sizes over several orders of magnitude, as gradients have.
    (0..count)
        .map(|at| unit(at) * 10f32.powi(-((at % 7) as i32)))
        .collect()
}

fn device() -> Device {
    Device::flex()
}

fn tensor_of<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = drawn(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), &device())
}

impl Parameters {
    fn new() -> Self {
        fn param<const D: usize>(shape: [usize; D], id: u64) -> Param<Tensor<D>> {
            Param::initialized(ParamId::from(id), tensor_of(shape, id))
        }
        Self {
            large: param([150, 257], 1),
            small: param([70, 61], 2),
            vector: param([100], 3),
        }
    }

    fn gradients(&self, step: u64) -> ParamGradients {
        let mut gradients = ParamGradients::new();
        gradients.register(self.large.id, tensor_of([150, 257], 10 * step + 4));
        gradients.register(self.small.id, tensor_of([70, 61], 10 * step + 5));
        gradients.register(self.vector.id, tensor_of([100], 10 * step + 6));
        gradients
    }

    fn bits(&self) -> Vec<u32> {
        let of = |data: TensorData| data.iter::<f32>().map(f32::to_bits).collect::<Vec<_>>();
        [
            of(self.large.val().into_data()),
            of(self.small.val().into_data()),
            of(self.vector.val().into_data()),
        ]
        .concat()
    }
}

fn optimizer(moments: MomentFormat) -> Optimizer {
    Optimizer::new(&OptimizerOptions {
        moments,
        ..OptimizerOptions::default()
    })
}

fn steps(optimizer: &mut Optimizer, mut model: Parameters, steps: std::ops::Range<u64>) -> Parameters {
    for step in steps {
        let gradients = model.gradients(step);
        let factor = Tensor::from_floats([0.7], &device());
        model = optimizer.step(1e-3, model, gradients, factor);
    }
    model
}

fn state(optimizer: &Optimizer, model: &Parameters) -> BTreeMap<String, TensorData> {
    let tensors = optimizer.state(model).into_iter();
    tensors
        .map(|tensor| (tensor.name.clone(), tensor.to_data()))
        .collect()
}

fn bytes(state: &BTreeMap<String, TensorData>) -> BTreeMap<&str, (DType, &[u8])> {
    let state = state.iter();
    state
        .map(|(name, data)| (name.as_str(), (data.dtype(), data.as_bytes())))
        .collect()
}

#[test]
fn moments_on_the_host_give_the_bits_of_those_on_the_cpu() {
    let left = |format| {
        let mut optimizer = optimizer(format);
        let model = steps(&mut optimizer, Parameters::new(), 0..5);
        let state = state(&optimizer, &model);
        (model.bits(), state)
    };
    let ((model, state), (on_host, of_host)) = (left(MomentFormat::F32), left(MomentFormat::Host));
    assert!(model == on_host, "parameters");
    assert_eq!(bytes(&state), bytes(&of_host));
}

#[test]
fn a_restored_optimizer_goes_on_to_the_same_bits() {
    for format in FORMATS {
        let mut whole = optimizer(format);
        let expected = steps(&mut whole, Parameters::new(), 0..6);
        let mut first = optimizer(format);
        let model = steps(&mut first, Parameters::new(), 0..3);
        let mut second = optimizer(format);
        let unknown = second.load_state(&model, state(&first, &model));
        assert!(unknown.is_empty(), "{format:?}: {unknown:?}");
        let found = steps(&mut second, model, 3..6);
        assert!(found.bits() == expected.bits(), "{format:?}: parameters");
        assert_eq!(
            bytes(&state(&second, &found)),
            bytes(&state(&whole, &expected)),
            "{format:?}"
        );
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for format in FORMATS {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let run = || steps(&mut optimizer(format), Parameters::new(), 0..3).bits();
            pool.expect("a pool").install(run)
        };
        assert!(on(1) == on(5), "{format:?}");
    }
}

#[test]
fn a_negative_factor_leaves_parameters_and_moments_as_they_are() {
    for format in FORMATS {
        let mut optimizer = optimizer(format);
        for begun in [0, 2] {
            let model = steps(&mut optimizer, Parameters::new(), 0..begun);
            let (before, kept) = (model.bits(), state(&optimizer, &model));
            let gradients = model.gradients(9);
            let model = optimizer.step(1e-3, model, gradients, Tensor::from_floats([-1.0], &device()));
            optimizer.left_out();
            assert!(model.bits() == before, "{format:?}");
            assert_eq!(bytes(&state(&optimizer, &model)), bytes(&kept), "{format:?}");
        }
    }
}

#[test]
fn rows_of_a_parameter_are_rounded_as_they_are_in_the_whole() {
    let rows = 40..100;
    let mut whole = optimizer(MomentFormat::Bf16);
    let expected = steps(&mut whole, Parameters::new(), 0..3);
    let mut cut = optimizer(MomentFormat::Bf16);
    let mut model = Parameters::new();
    cut.own([(model.large.id, rows.clone())].into());
    for step in 0..3 {
        let mut gradients = ParamGradients::new();
        let all = model
            .gradients(step)
            .remove::<2>(model.large.id)
            .expect("a gradient");
        gradients.register(model.large.id, all.slice([rows.clone()]));
        model = cut.step(1e-3, model, gradients, Tensor::from_floats([0.7], &device()));
    }
    let [found, expected_rows] =
        [&model, &expected].map(|model| model.large.val().slice([rows.clone()]).into_data());
    assert!(found.as_bytes() == expected_rows.as_bytes());
    // And it takes its rows of the state of the whole.
    let mut again = optimizer(MomentFormat::Bf16);
    again.own([(model.large.id, rows)].into());
    let _ = again.load_state(&model, state(&whole, &expected));
    let [found, expected] = [state(&again, &model), state(&cut, &model)];
    assert_eq!(
        found["large.exp_avg"].as_bytes(),
        expected["large.exp_avg"].as_bytes()
    );
}

#[test]
fn moments_take_the_bytes_that_are_counted() {
    for format in FORMATS {
        let mut optimizer = optimizer(format);
        let model = steps(&mut optimizer, Parameters::new(), 0..1);
        let tensors = optimizer.state(&model).into_iter();
        let kept = tensors.filter(|tensor| !tensor.name.ends_with(".step"));
        let found: usize = kept.map(|tensor| tensor.bytes()).sum();
        let counts = [150 * 257, 70 * 61, 100];
        let counted: usize = counts.map(|count| moment_bytes(count, format)).iter().sum();
        assert_eq!(found, counted, "{format:?}");
    }
}

#[test]
fn moments_of_another_format_are_rounded_to_the_nearest() {
    let mut exact = optimizer(MomentFormat::F32);
    let model = steps(&mut exact, Parameters::new(), 0..2);
    let values =
        |state: &BTreeMap<String, TensorData>, name: &str| state[name].iter::<f32>().collect::<Vec<_>>();
    let expected = state(&exact, &model);
    for (format, relative) in [(MomentFormat::Bf16, 1.0 / 256.0), (MomentFormat::Host, 0.0)] {
        let mut other = optimizer(format);
        assert_eq!(
            other.load_state(&model, state(&exact, &model)),
            Vec::<String>::new()
        );
        let found = state(&other, &model);
        for name in ["large.exp_avg", "large.exp_avg_sq", "vector.exp_avg"] {
            for (found, expected) in values(&found, name).into_iter().zip(values(&expected, name)) {
                assert!(
                    (found - expected).abs() <= relative * expected.abs(),
                    "{name}: {found} {expected}"
                );
            }
        }
    }
    let mut narrow = optimizer(MomentFormat::Int8);
    let _ = narrow.load_state(&model, state(&exact, &model));
    let mut again = optimizer(MomentFormat::F32);
    let _ = again.load_state(&model, state(&narrow, &model));
    let found = state(&again, &model);
    // The widest step of the signed map is 0.9/64 of the largest value of a block.
    let most = values(&expected, "large.exp_avg")
        .into_iter()
        .map(f32::abs)
        .fold(0.0, f32::max);
    let pairs = values(&found, "large.exp_avg")
        .into_iter()
        .zip(values(&expected, "large.exp_avg"));
    for (found, expected) in pairs {
        assert!(
            (found - expected).abs() <= 0.9 / 128.0 * most,
            "{found} {expected}"
        );
    }
    assert_eq!(
        values(&found, "vector.exp_avg"),
        values(&expected, "vector.exp_avg")
    );
}

#[test]
fn few_bits_train_about_as_many_do() {
    // Minimises ½|x − t|², where all depends on the moments: their rounding is at most a few percent of a step.
    let left = |format| {
        let mut optimizer = optimizer(format);
        let target = tensor_of([70, 61], 77);
        let mut model = Parameters::new();
        for _ in 0..300 {
            let mut gradients = ParamGradients::new();
            gradients.register(model.small.id, model.small.val().inner() - target.clone());
            model = optimizer.step(1e-2, model, gradients, Tensor::from_floats([1.0], &device()));
        }
        (model.small.val().inner() - target)
            .square()
            .sum()
            .into_scalar::<f32>()
    };
    let exact = left(MomentFormat::F32);
    for format in [MomentFormat::Bf16, MomentFormat::Int8] {
        let found = left(format);
        assert!(found < 1.5 * exact + 0.05, "{format:?}: {found}, {exact} in f32");
    }
}
