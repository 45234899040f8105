//! Products of f32 with TF32 refused have the precision of f32, forward and backward, and training is the same.
//! Products of bf16 factors have sums with the precision of f32.

use super::models::{model, unequal};
use burn::tensor::{DType, Device, Tensor, TensorData};
use cadft_core::{AnyObjective, Normalisation, RunningMoments};
use cadft_data::{Bucketing, Example, Packing};
use cadft_kernels::{Tf32, bf16_linear, full_matmul, set_tf32};
use cadft_step::MicroBatching;
use cadft_step::batch::GlobalBatch;
use cadft_step::step::{StepSettings, backward};
use cadft_tests::arrays::values;
use cadft_tests::{F32, REORDERED_GRADIENT, devices, gradients_by_name};

const BATCH: usize = 6;
const ROWS: usize = 37;
const INNER: usize = 130;
const COLUMNS: usize = 21;

/// Pseudorandom numbers between −1 and 1.
fn drawn(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// `a · b` of a batch of matrices `[m, k]` and `[k, n]`, in f64.
fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let entry = |a: &[f64], b: &[f64], at: usize| {
        let (row, column) = (at / n, at % n);
        (0..k).map(|i| a[row * k + i] * b[i * n + column]).sum()
    };
    (a.chunks(m * k).zip(b.chunks(k * n)))
        .flat_map(|(a, b)| (0..m * n).map(move |at| entry(a, b, at)))
        .collect()
}

/// Every matrix of a batch `[m, n]` transposed.
fn transposed(a: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
    a.chunks(m * n)
        .flat_map(|a| (0..m * n).map(move |at| a[at % m * n + at / m]))
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn tensor<const D: usize>(values: &[f32], dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), dims), device)
}

#[test]
fn a_full_product_and_its_gradients_have_the_digits_of_f32() {
    let (a, b) = (drawn(BATCH * ROWS * INNER, 1), drawn(BATCH * INNER * COLUMNS, 2));
    let up = drawn(BATCH * ROWS * COLUMNS, 3);
    let [wide_a, wide_b, wide_up] = [&a, &b, &up].map(|values| wide(values));
    let expected = [
        product(&wide_a, &wide_b, [ROWS, INNER, COLUMNS]),
        product(
            &wide_up,
            &transposed(&wide_b, [INNER, COLUMNS]),
            [ROWS, COLUMNS, INNER],
        ),
        product(
            &transposed(&wide_a, [ROWS, INNER]),
            &wide_up,
            [INNER, ROWS, COLUMNS],
        ),
    ];
    for (name, device) in devices() {
        let device = device.autodiff();
        let a = tensor(&a, [2, BATCH / 2, ROWS, INNER], &device).require_grad();
        // Transposed in memory, like the weight of a linear layer.
        let b = tensor(&b, [2, BATCH / 2, INNER, COLUMNS], &device);
        let b = (b.swap_dims(2, 3) * 1.0).require_grad();
        let y = full_matmul(a.clone(), b.clone().swap_dims(2, 3));
        let up = tensor(&up, [2, BATCH / 2, ROWS, COLUMNS], &device);
        let grads = (y.clone() * up).sum().backward();
        let of_b = b.grad(&grads).expect("a gradient").swap_dims(2, 3);
        let found = [
            values(y),
            values(a.grad(&grads).expect("a gradient")),
            values(of_b),
        ];
        for (part, (found, expected)) in ["y", "∂a", "∂b"].iter().zip(found.iter().zip(&expected)) {
            F32.assert_close(&format!("{name}: {part}"), found, expected);
        }
    }
}

/// `x` rounded to bf16.
fn bf16(x: f64) -> f64 {
    burn::tensor::bf16::from_f32(x as f32).to_f64()
}

#[test]
fn only_the_factors_of_a_bf16_linear_layer_are_rounded() {
    let (x, weight, up) = (
        drawn(ROWS * INNER, 1),
        drawn(COLUMNS * INNER, 2),
        drawn(ROWS * COLUMNS, 3),
    );
    let [x_r, w_r, up_r] =
        [&x, &weight, &up].map(|values| wide(values).into_iter().map(bf16).collect::<Vec<_>>());
    let expected = [
        product(&x_r, &transposed(&w_r, [COLUMNS, INNER]), [ROWS, INNER, COLUMNS]),
        product(&up_r, &w_r, [ROWS, COLUMNS, INNER]),
        product(&transposed(&up_r, [ROWS, COLUMNS]), &x_r, [COLUMNS, ROWS, INNER]),
    ];
    for (name, device) in devices() {
        if !device.supports_dtype(DType::BF16) {
            continue;
        }
        let device = device.autodiff();
        let x = tensor::<2>(&x, [ROWS, INNER], &device);
        let weight = tensor::<2>(&weight, [COLUMNS, INNER], &device);
        let up = tensor::<2>(&up, [ROWS, COLUMNS], &device);
        for (x_wants, weight_wants) in [(true, true), (true, false), (false, true)] {
            let x = if x_wants {
                x.clone().require_grad()
            } else {
                x.clone()
            };
            let weight = if weight_wants {
                weight.clone().require_grad()
            } else {
                weight.clone()
            };
            let y = bf16_linear(x.clone(), weight.clone());
            F32.assert_close(&format!("{name}: y"), &values(y.clone()), &expected[0]);
            let grads = (y * up.clone()).sum().backward();
            for (part, of, wanted, expected) in [
                ("∂x", x.grad(&grads), x_wants, &expected[1]),
                ("∂W", weight.grad(&grads), weight_wants, &expected[2]),
            ] {
                assert_eq!(of.is_some(), wanted, "{name}: {part}");
                if let Some(found) = of {
                    F32.assert_close(&format!("{name}: {part}"), &values(found), expected);
                }
            }
        }
    }
}

#[test]
fn a_gradient_is_the_same_with_tf32_refused_where_there_is_none() {
    let objective = AnyObjective::from_name("cadft").expect("a known objective");
    let section = MicroBatching {
        micro: 2,
        bucketing: Bucketing::ByLength,
        packing: Packing::None,
        max_tokens: None,
    };
    let examples = unequal(6);
    let examples: Vec<&Example> = examples.iter().collect();
    for (name, device) in devices() {
        let model = model("tiny-llama-tied", &device);
        let batch = GlobalBatch::new(&examples, &section, &model.device());
        let settings = StepSettings {
            objective: &objective,
            reference: None,
            normalisation: Normalisation::TokenMean,
            lr: 1.0,
            clip: 1.0,
        };
        let [allowed, refused] = [Tf32::Allowed, Tf32::Refused].map(|tf32| {
            set_tf32(tf32);
            let found = backward(&model, &batch, &settings, &RunningMoments::new(0.99));
            set_tf32(Tf32::Allowed);
            gradients_by_name(&model, &found.gradients)
        });
        for (parameter, gradient) in &allowed {
            REORDERED_GRADIENT.assert_close(&format!("{name}: {parameter}"), &refused[parameter], gradient);
        }
    }
}
