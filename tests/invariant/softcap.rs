//! Soft-capped logits in the fused likelihood, the statistics and the divergence, against tensor operations that hold
//! all logits.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use cadft_core::{
    ChunkSize, LogitOptions, Precision, Statistic, linear_divergence, linear_log_probs_chunked,
    linear_statistic,
};
use cadft_tests::arrays::values;
use cadft_tests::{LIKELIHOOD, devices};

const TOKENS: usize = 9;
const VOCAB: usize = 23;
const SIZE: usize = 5;

fn capped(cap: f64) -> LogitOptions {
    LogitOptions {
        precision: Precision::F32,
        softcap: Some(cap),
    }
}

/// Numbers between −1.6 and 1.6.
fn matrix(rows: usize, seed: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * SIZE)
        .map(|i| ((i * 7919 + seed * 31) % 97) as f32 / 30.0 - 1.6)
        .collect();
    Tensor::from_data(TensorData::new(values, [rows, SIZE]), device)
}

fn upstream(device: &Device) -> Tensor<1> {
    let values: Vec<f32> = (0..TOKENS).map(|i| i as f32 / 7.0 - 0.4).collect();
    Tensor::from_data(TensorData::new(values, [TOKENS]), device)
}

fn log_softmax(hidden: Tensor<2>, weight: Tensor<2>, cap: f64) -> Tensor<2> {
    let logits = (hidden.matmul(weight.transpose()) / cap).tanh() * cap;
    activation::log_softmax(logits, 1)
}

/// The value, and the gradients of a weighted sum of it.
fn differentiate(device: &Device, f: impl FnOnce(Tensor<2>, Tensor<2>) -> Tensor<1>) -> [Vec<f64>; 3] {
    let (hidden, weight) = (
        matrix(TOKENS, 1, device).require_grad(),
        matrix(VOCAB, 2, device).require_grad(),
    );
    let value = f(hidden.clone(), weight.clone());
    let grads = (value.clone() * upstream(device)).sum().backward();
    [
        values(value),
        values(hidden.grad(&grads).expect("a gradient")),
        values(weight.grad(&grads).expect("a gradient")),
    ]
}

fn assert_close(name: &str, found: &[Vec<f64>; 3], expected: &[Vec<f64>; 3]) {
    for ((part, found), expected) in ["value", "hidden", "weight"].iter().zip(found).zip(expected) {
        LIKELIHOOD.assert_close(&format!("{name}: {part}"), found, expected);
    }
}

#[test]
fn a_softcapped_likelihood_equals_the_naive_one_in_value_and_gradients() {
    for (name, device) in devices() {
        let device = device.autodiff();
        let ids: Vec<i64> = (0..TOKENS as i64).map(|i| i * 5 % VOCAB as i64).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [TOKENS]), &device);
        for cap in [0.5, 2.0, 30.0] {
            let naive = differentiate(&device, |hidden, weight| {
                let of_target = log_softmax(hidden, weight, cap).gather(1, targets.clone().unsqueeze_dim(1));
                of_target.squeeze_dim(1)
            });
            for rows in [1, 4, 100] {
                let fused = differentiate(&device, |hidden, weight| {
                    linear_log_probs_chunked(
                        hidden,
                        weight,
                        targets.clone(),
                        capped(cap),
                        ChunkSize::Rows(rows),
                    )
                });
                assert_close(&format!("{name}: cap {cap}, {rows} rows"), &fused, &naive);
            }
        }
    }
}

#[test]
fn a_divergence_of_softcapped_models_equals_the_naive_one_in_value_and_gradients() {
    for (name, device) in devices() {
        let device = device.autodiff();
        for [cap, of_reference] in [[1.0, 2.0], [30.0, 1.5]] {
            let reference = [3, 4].map(|seed| matrix(if seed == 3 { TOKENS } else { VOCAB }, seed, &device));
            let naive = differentiate(&device, |hidden, weight| {
                let [reference_hidden, reference_weight] = reference.clone();
                let log_q = log_softmax(reference_hidden, reference_weight, of_reference);
                let log_p = log_softmax(hidden, weight, cap);
                (log_q.clone().exp() * (log_q - log_p)).sum_dim(1).squeeze_dim(1)
            });
            let fused = differentiate(&device, |hidden, weight| {
                let options = [capped(cap), capped(of_reference)];
                linear_divergence([hidden, weight], reference.clone(), options, ChunkSize::Rows(4))
            });
            assert_close(&format!("{name}: caps {cap} and {of_reference}"), &fused, &naive);
        }
    }
}

#[test]
fn statistics_are_of_the_softcapped_distribution() {
    for (name, device) in devices() {
        let (hidden, weight) = (matrix(TOKENS, 1, &device), matrix(VOCAB, 2, &device));
        let log_p = log_softmax(hidden.clone(), weight.clone(), 1.5);
        let expected = [
            (
                Statistic::Entropy,
                (log_p.clone().exp() * log_p.clone()).sum_dim(1).neg(),
            ),
            (Statistic::Collision, (log_p * 2.0).exp().sum_dim(1)),
        ];
        for (statistic, expected) in expected {
            let found = linear_statistic(hidden.clone(), weight.clone(), statistic, capped(1.5));
            LIKELIHOOD.assert_close(
                &format!("{name}: {statistic:?}"),
                &values(found),
                &values(expected),
            );
        }
    }
}
