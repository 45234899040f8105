//! The hand-written operations on Flex equal their portable forms, in value and in every gradient.

use burn::tensor::{Device, Distribution, Tensor};
use cadft_model::fused::{self, AttentionInput, portable};

use crate::values;

fn device() -> Device {
    Device::flex().autodiff()
}

/// A normal leaf with standard deviation 1.
fn leaf<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device()).require_grad()
}

/// The largest difference relative to the largest value, or to 1e-3 where all values are smaller.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|x| x.abs()).fold(1e-3, f32::max);
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
        / scale
}

/// Compares two forms of a function of `inputs`: the output, and the gradient of every input under a random upstream
/// gradient.
#[track_caller]
fn compare<const D: usize, const N: usize>(
    inputs: &[Tensor<D>; N],
    found: impl Fn([Tensor<D>; N]) -> Tensor<D>,
    expected: impl Fn([Tensor<D>; N]) -> Tensor<D>,
) {
    let (found, expected) = (found(inputs.clone()), expected(inputs.clone()));
    assert!(difference(&values(&found), &values(&expected)) < 2e-6, "output");
    let upstream = Tensor::random(found.shape(), Distribution::Normal(0.0, 1.0), &device());
    let found = (found * upstream.clone()).sum().backward();
    let expected = (expected * upstream).sum().backward();
    for (index, input) in inputs.iter().enumerate() {
        let (found, expected) = (input.grad(&found).unwrap(), input.grad(&expected).unwrap());
        let difference = difference(&values(&found), &values(&expected));
        assert!(difference < 5e-6, "gradient {index}: {difference:e}");
    }
}

#[test]
fn linear_equals_its_portable_form() {
    for (rows, input, output) in [(1, 1, 1), (3, 17, 33), (70, 64, 40)] {
        compare(
            &[leaf([rows, input]), leaf([output, input])],
            |[x, weight]| fused::linear(x, weight),
            |[x, weight]| portable::linear(x, weight),
        );
        compare(
            &[leaf([input, rows]), leaf([input, output])],
            |[x, weight]| fused::linear(x.transpose(), weight.transpose()),
            |[x, weight]| portable::linear(x.transpose(), weight.transpose()),
        );
    }
}

#[test]
fn rms_norm_equals_its_portable_form() {
    // The weight is passed as [1, 1, hidden] so that all inputs have one rank.
    for (batch, seq, hidden) in [(1, 1, 5), (2, 3, 33), (3, 70, 64)] {
        compare(
            &[leaf([batch, seq, hidden]), leaf([1, 1, hidden])],
            |[x, weight]| fused::rms_norm(x, weight.reshape([hidden]), 1e-5),
            |[x, weight]| portable::rms_norm(x, weight.reshape([hidden]), 1e-5),
        );
    }
}

#[test]
fn swiglu_equals_its_portable_form() {
    for shape in [[1, 1, 1], [2, 3, 33], [3, 70, 64]] {
        compare(
            &[leaf(shape), leaf(shape)],
            |[gate, up]| fused::swiglu(gate, up),
            |[gate, up]| portable::swiglu(gate, up),
        );
    }
    let extreme = Tensor::<3>::from_floats([[[-200.0, -90.0, 0.0, 90.0, 200.0]]], &Device::flex());
    let found = fused::swiglu(extreme.clone(), Tensor::ones([1, 1, 5], &Device::flex()));
    assert_eq!(values(&found.slice_dim(2, 2..5)), [0.0, 90.0, 200.0]);
    assert!(
        fused::swiglu(extreme.clone(), extreme)
            .is_finite()
            .all()
            .into_scalar::<bool>()
    );
}

#[test]
fn attention_equals_its_portable_form() {
    for (batch, seq, heads, kv_heads, head_dim) in [
        (1, 1, 1, 1, 2),
        (2, 5, 4, 2, 6),
        (1, 64, 3, 1, 8),
        (2, 65, 2, 2, 16),
        (1, 150, 9, 3, 4),
    ] {
        let angles: Vec<f32> = (0..seq * head_dim / 2).map(|i| (i * i) as f32 * 0.37).collect();
        let table = |f: fn(f32) -> f32| {
            let table: Vec<f32> = angles.iter().copied().map(f).collect();
            Tensor::<1>::from_floats(table.as_slice(), &device()).reshape([seq, head_dim / 2])
        };
        let (cos, sin) = (table(f32::cos), table(f32::sin));
        let input = |[query, key, value]: [Tensor<3>; 3]| AttentionInput {
            query,
            key,
            value,
            cos: cos.clone(),
            sin: sin.clone(),
        };
        let width = kv_heads * head_dim;
        compare(
            &[
                leaf([batch, seq, heads * head_dim]),
                leaf([batch, seq, width]),
                leaf([batch, seq, width]),
            ],
            |inputs| fused::causal_attention(input(inputs)),
            |inputs| portable::causal_attention(input(inputs)),
        );
    }
}

#[test]
fn inputs_without_gradients_get_none() {
    let x = leaf([4, 6]);
    let weight = Tensor::<2>::random([5, 6], Distribution::Normal(0.0, 1.0), &device());
    let gradients = fused::linear(x.clone(), weight.clone()).sum().backward();
    assert!(x.grad(&gradients).is_some() && weight.grad(&gradients).is_none());
    let plain = fused::linear(x.clone().inner(), weight.clone().inner());
    assert_eq!(values(&plain), values(&fused::linear(x, weight)));
}

#[test]
fn gradients_are_the_same_bits_every_time_and_on_every_number_of_threads() {
    let (x, weight, upstream) = (leaf([4, 100, 96]), leaf([96]), leaf([4, 100, 96]));
    let gradient = || {
        let y = fused::rms_norm(x.clone(), weight.clone(), 1e-6);
        values(&weight.grad(&(y * upstream.clone()).sum().backward()).unwrap())
    };
    let expected = gradient();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        assert_eq!(pool.install(gradient), expected, "{threads} threads");
    }
}
