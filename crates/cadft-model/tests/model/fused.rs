//! The hand-written operations on Flex equal their portable versions, in value and in every gradient.

use std::cell::Cell;
use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use cadft_model::decoder::Precision;
use cadft_model::fused::{self, Activation, AttentionInput, AttentionOptions, Rotation, portable};

use crate::values;

fn device() -> Device {
    Device::flex().autodiff()
}

thread_local! {
    /// Every test has a separate thread, so it gets the same numbers in every run.
    static STATE: Cell<u64> = const { Cell::new(42) };
}

/// Approximately normal numbers with standard deviation 1: sums of twelve uniform ones.
fn normal<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let uniform = || {
        STATE.set(
            STATE
                .get()
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1),
        );
        (STATE.get() >> 40) as f32 / (1u64 << 24) as f32
    };
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

fn leaf<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    normal(shape).require_grad()
}

/// The largest difference, relative to the largest expected value or 1e-3, whichever is larger.
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

/// Compares two versions of a function of `inputs`: the output, and the gradient of every input for a random upstream
/// gradient.
#[track_caller]
fn compare<const D: usize, const N: usize>(
    inputs: &[Tensor<D>; N],
    found: impl Fn([Tensor<D>; N]) -> Tensor<D>,
    expected: impl Fn([Tensor<D>; N]) -> Tensor<D>,
) {
    let (found, expected) = (found(inputs.clone()), expected(inputs.clone()));
    assert!(difference(&values(&found), &values(&expected)) < 2e-6, "output");
    let upstream = normal(found.dims());
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
    // The weight has the shape [1, 1, hidden] so that all inputs have the same rank.
    for (batch, seq, hidden) in [(1, 1, 5), (2, 3, 33), (3, 70, 64)] {
        compare(
            &[leaf([batch, seq, hidden]), leaf([1, 1, hidden])],
            |[x, weight]| fused::rms_norm(x, weight.reshape([hidden]), 1e-5),
            |[x, weight]| portable::rms_norm(x, weight.reshape([hidden]), 1e-5),
        );
    }
}

#[test]
fn gated_units_equal_their_portable_forms() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        for shape in [[1, 1, 1], [2, 3, 33], [3, 70, 64]] {
            compare(
                &[leaf(shape), leaf(shape)],
                |[gate, up]| fused::gated(activation, gate, up, Precision::F32),
                |[gate, up]| portable::gated(activation, gate, up, Precision::F32),
            );
        }
        let extreme = Tensor::<3>::from_floats([[[-200.0, -90.0, 0.0, 90.0, 200.0]]], &Device::flex());
        let found = fused::gated(
            activation,
            extreme.clone(),
            Tensor::ones([1, 1, 5], &Device::flex()),
            Precision::F32,
        );
        assert_eq!(values(&found.slice_dim(2, 2..5)), [0.0, 90.0, 200.0]);
        assert!(
            fused::gated(activation, extreme.clone(), extreme, Precision::F32)
                .is_finite()
                .all()
                .into_scalar::<bool>()
        );
    }
}

/// Rotation of `rows` rows by arbitrary angles.
fn rotation(rows: usize, seq: usize, pairs: usize) -> Rotation {
    let angles: Vec<f32> = (0..rows * seq * pairs).map(|i| (i * i) as f32 * 0.37).collect();
    let table = |f: fn(f32) -> f32| {
        let table: Vec<f32> = angles.iter().copied().map(f).collect();
        Tensor::<1>::from_floats(table.as_slice(), &device()).reshape([rows, seq, pairs])
    };
    Rotation {
        cos: table(f32::cos),
        sin: table(f32::sin),
    }
}

/// The starts of samples in packed rows; `cuts` are the first positions of the later samples.
fn starts(batch: usize, seq: usize, cuts: &[usize]) -> Arc<[usize]> {
    (0..batch)
        .flat_map(|row| {
            // Each row is cut one position later than the row above.
            let start = move |t: usize| cuts.iter().map(|cut| cut + row).filter(|&cut| cut <= t).max();
            (0..seq).map(move |t| start(t).unwrap_or(0))
        })
        .collect()
}

/// Compares both versions for `[batch, seq, heads, kv_heads, head_dim]`.
#[track_caller]
fn compare_attention(
    [batch, seq, heads, kv_heads, head_dim]: [usize; 5],
    rotation: Option<&Rotation>,
    options: &AttentionOptions,
) {
    let input = |[query, key, value]: [Tensor<3>; 3]| AttentionInput {
        query,
        key,
        value,
        rotation: rotation.cloned(),
        options: options.clone(),
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

fn plain(head_dim: usize) -> AttentionOptions {
    AttentionOptions {
        head_dim,
        scale: (head_dim as f64).powf(-0.5),
        softcap: None,
        window: None,
        starts: None,
        precision: Precision::F32,
    }
}

#[test]
fn attention_equals_its_portable_form() {
    for sizes in [
        [1, 1, 1, 1, 2],
        [2, 5, 4, 2, 6],
        [1, 64, 3, 1, 8],
        [2, 65, 2, 2, 16],
        [1, 150, 9, 3, 4],
    ] {
        let [_, seq, _, _, head_dim] = sizes;
        compare_attention(sizes, Some(&rotation(1, seq, head_dim / 2)), &plain(head_dim));
    }
}

#[test]
fn every_option_of_attention_equals_its_portable_form() {
    let sizes = [2, 150, 6, 2, 8];
    let [batch, seq, _, _, head_dim] = sizes;
    let packed = Some(starts(batch, seq, &[1, 40, 64, 130]));
    for window in [None, Some(2), Some(7), Some(64), Some(65), Some(1000)] {
        for starts in [None, packed.clone()] {
            for softcap in [None, Some(1.5)] {
                let options = AttentionOptions {
                    head_dim,
                    scale: 0.31,
                    softcap,
                    window,
                    starts: starts.clone(),
                    ..plain(head_dim)
                };
                compare_attention(sizes, Some(&rotation(batch, seq, head_dim / 2)), &options);
            }
        }
    }
}

#[test]
fn attention_without_rotation_and_with_a_partial_one_equals_its_portable_form() {
    for rotation in [None, Some(rotation(1, 70, 1)), Some(rotation(2, 70, 3))] {
        compare_attention([2, 70, 4, 2, 8], rotation.as_ref(), &plain(8));
    }
}

/// Keys outside the window or the sample have no effect, whatever their values are.
#[test]
fn hidden_keys_have_no_influence() {
    let options = AttentionOptions {
        window: Some(10),
        starts: Some(starts(1, 100, &[30])),
        ..plain(4)
    };
    let run = |key: Tensor<3>| {
        fused::causal_attention(AttentionInput {
            query: Tensor::ones([1, 100, 4], &Device::flex()),
            value: key.clone(),
            key,
            rotation: None,
            options: options.clone(),
        })
    };
    let key = Tensor::<3>::random([1, 100, 4], Distribution::Normal(0.0, 1.0), &Device::flex());
    let changed = key.clone().slice_assign(
        [0..1, 0..30, 0..4],
        Tensor::full([1, 30, 4], 77.0, &Device::flex()),
    );
    let late = |x: Tensor<3>| values(&run(x).slice_dim(1, 30..100));
    assert_eq!(late(key.clone()), late(changed));
    let far = key.clone().slice_assign(
        [0..1, 30..41, 0..4],
        Tensor::full([1, 11, 4], 77.0, &Device::flex()),
    );
    assert_eq!(
        values(&run(key).slice_dim(1, 50..100)),
        values(&run(far).slice_dim(1, 50..100))
    );
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
