//! The portable bodies against the kernels of Flex, on Flex.

use burn::backend::Flex;
use burn::backend::tensor::IntTensor;
use burn::tensor::TensorData;

use super::format::{PackedFormat, PackedLayout};
use super::kernels::PackedKernels;
use super::{code, pack, portable};
use crate::flex::{Float, floats, tensor};
use crate::products::Precision;

const FORMATS: [PackedFormat; 3] = [PackedFormat::Bf16, PackedFormat::Int8, PackedFormat::Nf4];

/// Values of both signs, without a pattern.
fn values(count: usize) -> Vec<f32> {
    let at = |index: usize| (index as f32 * 0.731 + 0.2).sin() * (index as f32 * 0.017).cos();
    (0..count).map(at).collect()
}

fn packed(layout: PackedLayout) -> (IntTensor<Flex>, Float) {
    let pack::Stored { codes, scales } = pack::pack(&values(layout.count()), layout);
    assert_eq!(codes.len(), layout.words());
    assert_eq!(scales.len(), layout.scales());
    let (words, count) = (codes.len(), scales.len());
    let codes = IntTensor::<Flex>::from_data(TensorData::new(codes, [words]));
    (codes, tensor(scales, [count]))
}

#[test]
fn portable_bodies_and_kernels_of_flex_agree() {
    for shape in [[1, 1], [3, 5], [2, 63], [7, 64], [33, 65], [130, 201]] {
        for format in FORMATS {
            let layout = PackedLayout { format, shape };
            let (codes, scales) = packed(layout);
            let what = format!("{shape:?} in {format}");
            let unpacked = portable::values::<Flex>(&codes, &scales, layout);
            let found = Flex::packed_unpacked(codes.clone(), scales.clone(), layout);
            assert_eq!(floats(&found), floats(&unpacked), "{what}");
            for precision in [Precision::F32, Precision::Bf16] {
                let [output, input] = shape;
                let x = tensor(values(4 * input), [4, input]);
                let found =
                    Flex::packed_projection(x.clone(), codes.clone(), scales.clone(), layout, precision);
                let expected = portable::projection::<Flex>(x, unpacked.clone(), precision);
                assert_close(&found, &expected, &what);
                let grad = tensor(values(4 * output), [4, output]);
                let found = Flex::packed_input_gradient(
                    grad.clone(),
                    codes.clone(),
                    scales.clone(),
                    layout,
                    precision,
                );
                let expected = portable::input_gradient::<Flex>(grad, unpacked.clone(), precision);
                assert_close(&found, &expected, &what);
            }
            let found = Flex::packed_row_squares(codes, scales, layout);
            assert_close(&found, &portable::squares::<Flex>(unpacked), &what);
        }
    }
}

fn assert_close(found: &Float, expected: &Float, what: &str) {
    let (found, expected) = (floats(found), floats(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected
        .iter()
        .fold(1.0, |most: f32, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 1e-5 * largest,
            "{what}: {found} {expected}"
        );
    }
}

#[test]
fn every_value_of_a_table_is_packed_to_its_own_code() {
    for (code, value) in code::NF4.into_iter().enumerate() {
        assert_eq!(
            usize::from(crate::dynamic::code_below(value, &code::NF4_BOUNDS)),
            code
        );
    }
}

#[test]
fn rounding_moves_a_weight_by_at_most_half_a_step() {
    let shape = [40, 96];
    let weights = values(shape[0] * shape[1]);
    // The widest step of NF4 is 0.304, that of a scale's code 0.014 of the largest distance from the mean.
    for (format, step) in [
        (PackedFormat::Bf16, 1.0 / 256.0),
        (PackedFormat::Int8, 1.0 / 127.0),
        (PackedFormat::Nf4, 0.33),
    ] {
        let (codes, scales) = packed(PackedLayout { format, shape });
        let found = Flex::packed_unpacked(codes, scales, PackedLayout { format, shape });
        for (found, weight) in floats(&found).iter().zip(&weights) {
            assert!((found - weight).abs() <= step / 2.0, "{format}: {found} {weight}");
        }
    }
}
