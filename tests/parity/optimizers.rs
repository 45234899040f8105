//! Ten updates by Adafactor and Muon against transformers and `PyTorch` (`python/optimizers_golden.py`).

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use cadft_model::ParamGradients;
use cadft_step::optimizer::{AdjustLr, OptimizerKind};
use cadft_step::{Optimizer, OptimizerOptions};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, TEN_STEPS, devices};
use std::collections::BTreeMap;

#[derive(Module, Debug)]
struct Matrix {
    weight: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Vector {
    weight: Param<Tensor<1>>,
}

/// Parameters with the names of those of a model.
#[derive(Module, Debug)]
struct Parameters {
    embed_tokens: Matrix,
    up_proj: Matrix,
    down_proj: Matrix,
    norm: Vector,
}

impl Parameters {
    fn start(of: &Arrays, device: &Device) -> Self {
        fn param<const D: usize>(of: &Arrays, name: &str, device: &Device) -> Param<Tensor<D>> {
            let id = ParamId::from(name.len() as u64);
            Param::initialized(id, of.tensor(&format!("start.{name}.weight"), device))
        }
        let matrix = |name| Matrix {
            weight: param(of, name, device),
        };
        Self {
            embed_tokens: matrix("embed_tokens"),
            up_proj: matrix("up_proj"),
            down_proj: matrix("down_proj"),
            norm: Vector {
                weight: param(of, "norm", device),
            },
        }
    }

    fn matrices(&self) -> [(&'static str, &Param<Tensor<2>>); 3] {
        [
            ("embed_tokens", &self.embed_tokens.weight),
            ("up_proj", &self.up_proj.weight),
            ("down_proj", &self.down_proj.weight),
        ]
    }

    fn gradients(&self, of: &Arrays, step: usize, device: &Device) -> ParamGradients {
        let mut gradients = ParamGradients::new();
        for (name, param) in self.matrices() {
            let all = of.tensor::<3>(&format!("grad.{name}.weight"), device);
            let shape = param.val().dims();
            gradients.register(param.id, all.slice_dim(0, step..step + 1).reshape(shape));
        }
        let all = of.tensor::<2>("grad.norm.weight", device);
        let shape = self.norm.weight.val().dims();
        gradients.register(
            self.norm.weight.id,
            all.slice_dim(0, step..step + 1).reshape(shape),
        );
        gradients
    }

    fn values(&self) -> BTreeMap<&'static str, Vec<f64>> {
        let matrices = self
            .matrices()
            .map(|(name, param)| (name, values(param.val().inner())));
        let norm = values(self.norm.weight.val().inner());
        matrices.into_iter().chain([("norm", norm)]).collect()
    }
}

/// The cases of the fixture.
fn cases() -> [(&'static str, OptimizerOptions); 4] {
    let options = |kind, scale_parameter, adjust_lr| OptimizerOptions {
        kind,
        weight_decay: 0.1,
        scale_parameter,
        adjust_lr,
        ..OptimizerOptions::default()
    };
    let (adafactor, muon) = (OptimizerKind::Adafactor, OptimizerKind::Muon);
    let (matched, original) = (AdjustLr::MatchRmsAdamw, AdjustLr::Original);
    [
        ("adafactor", options(adafactor, false, matched)),
        ("adafactor-scaled", options(adafactor, true, matched)),
        ("muon-match-rms-adamw", options(muon, false, matched)),
        ("muon-original", options(muon, false, original)),
    ]
}

fn steps(
    optimizer: &mut Optimizer,
    mut model: Parameters,
    of: &Arrays,
    steps: std::ops::Range<usize>,
    device: &Device,
) -> Parameters {
    for step in steps {
        let gradients = model.gradients(of, step, device);
        model = optimizer.step(1e-2, model, gradients, Tensor::ones([1], device));
    }
    model
}

#[test]
fn ten_updates_equal_those_of_transformers_and_pytorch() {
    let expected = Arrays::read("optimizers.safetensors");
    for (backend, device) in devices() {
        for (case, options) in cases() {
            let start = Parameters::start(&expected, &device);
            let model = steps(&mut Optimizer::new(&options), start, &expected, 0..10, &device);
            for (name, found) in model.values() {
                TEN_STEPS.assert_close(
                    &format!("{backend}: {case}.{name}"),
                    &found,
                    expected.values(&format!("{case}.{name}.weight")),
                );
            }
        }
    }
}

fn state(optimizer: &Optimizer, model: &Parameters) -> BTreeMap<String, TensorData> {
    let tensors = optimizer.state(model).into_iter();
    tensors
        .map(|tensor| (tensor.name.clone(), tensor.to_data()))
        .collect()
}

fn names(state: &BTreeMap<String, TensorData>) -> Vec<&str> {
    state.keys().map(String::as_str).collect()
}

#[test]
fn a_restored_optimizer_goes_on_to_the_same_bits_and_has_the_names_of_pytorch() {
    let of = Arrays::read("optimizers.safetensors");
    let device = Device::flex();
    for (case, options) in cases() {
        let mut whole = Optimizer::new(&options);
        let expected = steps(&mut whole, Parameters::start(&of, &device), &of, 0..6, &device);
        let mut first = Optimizer::new(&options);
        let model = steps(&mut first, Parameters::start(&of, &device), &of, 0..3, &device);
        let kept = state(&first, &model);
        let parts = match options.kind {
            OptimizerKind::Muon => ["up_proj.weight.momentum_buffer", "embed_tokens.weight.exp_avg_sq"],
            _ => ["up_proj.weight.exp_avg_sq_row", "norm.weight.exp_avg_sq"],
        };
        for part in parts {
            assert!(kept.contains_key(part), "{case}: {:?}", names(&kept));
        }
        let mut second = Optimizer::new(&options);
        assert_eq!(second.load_state(&model, kept), Vec::<String>::new(), "{case}");
        let found = steps(&mut second, model, &of, 3..6, &device);
        assert_eq!(found.values(), expected.values(), "{case}");
        let [found, expected] = [state(&second, &found), state(&whole, &expected)];
        assert_eq!(names(&found), names(&expected), "{case}");
        for (name, data) in &found {
            assert_eq!(data.as_bytes(), expected[name].as_bytes(), "{case}: {name}");
        }
    }
}

#[test]
fn a_negative_factor_leaves_parameters_and_state_as_they_are() {
    let of = Arrays::read("optimizers.safetensors");
    for (backend, device) in devices() {
        for (case, options) in cases() {
            let mut optimizer = Optimizer::new(&options);
            let model = steps(
                &mut optimizer,
                Parameters::start(&of, &device),
                &of,
                0..2,
                &device,
            );
            let (before, kept) = (model.values(), state(&optimizer, &model));
            let mut gradients = model.gradients(&of, 2, &device);
            let id = model.up_proj.weight.id;
            let broken = gradients.remove::<2>(id).expect("a gradient") / 0.0;
            gradients.register(id, broken);
            let model = optimizer.step(1e-2, model, gradients, Tensor::from_floats([-1.0], &device));
            optimizer.left_out();
            assert_eq!(model.values(), before, "{backend}: {case}");
            for (name, data) in state(&optimizer, &model) {
                assert_eq!(
                    data.as_bytes(),
                    kept[&name].as_bytes(),
                    "{backend}: {case}: {name}"
                );
            }
        }
    }
}
