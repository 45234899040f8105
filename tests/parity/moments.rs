//! Moments in 8 bits: maps, codes and scales against bitsandbytes (`python/moments_golden.py`).

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use cadft_kernels::dynamic::{DynamicMap, SIGNED, UNSIGNED};
use cadft_model::ParamGradients;
use cadft_step::optimizer::MomentFormat;
use cadft_step::{Optimizer, OptimizerOptions};
use cadft_tests::{Arrays, EXACT};

#[derive(Module, Debug)]
struct Matrix {
    weight: Param<Tensor<2>>,
}

fn all(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[test]
fn maps_codes_and_scales_equal_those_of_bitsandbytes_to_the_last_bit() {
    let expected = Arrays::read("moments.safetensors");
    let maps: [(&str, &DynamicMap); 2] = [("signed", &SIGNED), ("unsigned", &UNSIGNED)];
    for (name, map) in maps {
        EXACT.assert_close(name, &all(&map.values), expected.values(name));
    }
    let device = Device::flex();
    let grad = expected.tensor::<2>("grad", &device);
    let model = Matrix {
        weight: Param::initialized(ParamId::from(1), grad.zeros_like()),
    };
    // Without decay of the moments they are the gradient and its square.
    let mut optimizer = Optimizer::new(&OptimizerOptions {
        betas: [0.0, 0.0],
        moments: MomentFormat::Int8,
        ..OptimizerOptions::default()
    });
    let mut gradients = ParamGradients::new();
    gradients.register(model.weight.id, grad);
    let model = optimizer.step(1e-3, model, gradients, Tensor::ones([1], &device));
    let state = optimizer.state(&model);
    assert_eq!(
        state.len(),
        5,
        "codes and scales of two moments, and the number of updates"
    );
    for tensor in state {
        let part = tensor.name.rsplit('.').next().unwrap_or_default();
        if part == "step" {
            continue;
        }
        let found: Vec<f32> = tensor.to_data().iter::<f32>().collect();
        EXACT.assert_close(part, &all(&found), expected.values(part));
    }
}
