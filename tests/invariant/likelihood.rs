//! The fused likelihood against a naive reference.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use cadft_core::{
    ChunkSize, Precision, linear_argmax, linear_log_probs, linear_log_probs_chunked, naive_log_probs,
};
use cadft_tests::arrays::values;
use cadft_tests::{F32, LIKELIHOOD, devices};
use proptest::prelude::*;

/// A batch of random hidden states, weights, targets and upstream gradients.
#[derive(Clone, Debug)]
struct Problem {
    shape: [usize; 3],
    hidden: Vec<f32>,
    weight: Vec<f32>,
    targets: Vec<i64>,
    upstream: Vec<f32>,
}

fn problem() -> impl Strategy<Value = Problem> {
    (1usize..40, 1usize..40, 2usize..130).prop_flat_map(|(tokens, size, vocab)| {
        (
            prop::collection::vec(-2.0f32..2.0, tokens * size),
            prop::collection::vec(-2.0f32..2.0, vocab * size),
            prop::collection::vec(0..vocab as i64, tokens),
            prop::collection::vec(-1.0f32..1.0, tokens),
        )
            .prop_map(move |(hidden, weight, targets, upstream)| Problem {
                shape: [tokens, size, vocab],
                hidden,
                weight,
                targets,
                upstream,
            })
    })
}

type Likelihood<'a> = &'a dyn Fn(Tensor<2>, Tensor<2>, Tensor<1, Int>) -> Tensor<1>;

/// The value and both gradients.
fn differentiate(problem: &Problem, device: &Device, likelihood: Likelihood<'_>) -> [Vec<f64>; 3] {
    let device = device.clone().autodiff();
    let [tokens, size, vocab] = problem.shape;
    let matrix = |values: &[f32], rows: usize| {
        Tensor::<2>::from_data(TensorData::new(values.to_vec(), [rows, size]), &device).require_grad()
    };
    let (hidden, weight) = (matrix(&problem.hidden, tokens), matrix(&problem.weight, vocab));
    let targets = Tensor::from_data(TensorData::new(problem.targets.clone(), [tokens]), &device);
    let log_probs = likelihood(hidden.clone(), weight.clone(), targets);
    let upstream = Tensor::<1>::from_floats(problem.upstream.as_slice(), &device);
    let grads = (log_probs.clone() * upstream).sum().backward();
    let [hidden, weight] = [hidden, weight].map(|x| values(x.grad(&grads).expect("a gradient")));
    [values(log_probs), hidden, weight]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn fused_equals_naive_in_value_and_gradients(problem in problem(), rows in 1usize..45) {
        for (name, device) in devices() {
            let naive = differentiate(&problem, &device, &naive_log_probs);
            let fused = differentiate(&problem, &device, &|h, w, t| {
                linear_log_probs_chunked(h, w, t, Precision::F32, ChunkSize::Rows(rows))
            });
            for ((part, fused), naive) in ["value", "hidden", "weight"].iter().zip(&fused).zip(&naive) {
                LIKELIHOOD.assert_close(&format!("{name}: {part}"), fused, naive);
            }
        }
    }
}

#[test]
fn every_chunk_size_gives_the_same_result() {
    let count = |n: usize, scale: f32| {
        (0..n)
            .map(|i| ((i * 7919) % 97) as f32 * scale - 1.0)
            .collect::<Vec<_>>()
    };
    let problem = Problem {
        shape: [13, 7, 29],
        hidden: count(13 * 7, 0.02),
        weight: count(29 * 7, 0.03),
        targets: (0..13).map(|i| (i * 5) % 29).collect(),
        upstream: count(13, 0.02),
    };
    for (name, device) in devices() {
        let whole = differentiate(&problem, &device, &|h, w, t| {
            linear_log_probs(h, w, t, Precision::F32)
        });
        for rows in 1..=14 {
            let parts = differentiate(&problem, &device, &|h, w, t| {
                linear_log_probs_chunked(h, w, t, Precision::F32, ChunkSize::Rows(rows))
            });
            for (part, whole) in parts.iter().zip(&whole) {
                LIKELIHOOD.assert_close(&format!("{name}: {rows} rows"), part, whole);
            }
        }
    }
}

#[test]
fn logits_of_ten_thousand_stay_finite() {
    for (name, device) in devices() {
        let device = device.autodiff();
        let hidden = Tensor::<2>::from_floats([[1e4], [-1e4]], &device).require_grad();
        let weight = Tensor::<2>::from_floats([[1.0], [-1.0], [0.0]], &device).require_grad();
        let targets = Tensor::<1, Int>::from_data([0, 0], &device);
        let log_probs = linear_log_probs(hidden.clone(), weight, targets, Precision::F32);
        F32.assert_close(name, &values(log_probs.clone()), &[0.0, -2e4]);
        let grads = log_probs.sum().backward();
        // In the second row, the second token is more likely than the target: d/dh = w₀ − w₁ = 2.
        F32.assert_close(
            name,
            &values(hidden.grad(&grads).expect("a gradient")),
            &[0.0, 2.0],
        );
    }
}

#[test]
fn a_frozen_weight_gets_no_gradient_and_changes_nothing() {
    for (name, device) in devices() {
        let device = device.autodiff();
        let run = |frozen: bool| {
            let hidden = Tensor::<2>::from_floats([[0.3, -1.0], [0.5, 2.0]], &device).require_grad();
            let weight = Tensor::<2>::from_floats([[1.0, 0.1], [-1.0, 0.4], [0.0, 0.2]], &device);
            let weight = if frozen { weight } else { weight.require_grad() };
            let targets = Tensor::<1, Int>::from_data([2, 1], &device);
            let grads = linear_log_probs(hidden.clone(), weight.clone(), targets, Precision::F32)
                .sum()
                .backward();
            assert_eq!(weight.grad(&grads).is_none(), frozen, "{name}");
            values(hidden.grad(&grads).expect("a gradient"))
        };
        assert_eq!(run(true), run(false), "{name}");
    }
}

#[test]
fn argmax_is_the_most_likely_token() {
    for (name, device) in devices() {
        // In bf16 the first two rows of the weight are equal, and the lower id is taken.
        let hidden = Tensor::<2>::from_floats([[1.0, 0.0], [-1.0, 0.0]], &device);
        let weight = Tensor::<2>::from_floats([[1.0, 0.5], [1.0 + 1e-4, 0.5], [0.5, 0.5]], &device);
        for (precision, expected) in [(Precision::F32, [1, 2]), (Precision::Bf16, [0, 2])] {
            if precision == Precision::F32 || device.supports_dtype(DType::BF16) {
                let ids = linear_argmax(hidden.clone(), weight.clone(), precision).into_data();
                assert_eq!(
                    ids.iter::<i64>().collect::<Vec<_>>(),
                    expected,
                    "{name}: {precision:?}"
                );
            }
        }
        let hidden = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], &device);
        let weight = Tensor::<2>::from_floats([[0.5, 0.0], [2.0, 1.0], [0.0, 3.0]], &device);
        let ids: Vec<i64> = linear_argmax(hidden, weight, Precision::F32)
            .into_data()
            .iter()
            .collect();
        assert_eq!(ids, [1, 2, 2], "{name}");
    }
}
