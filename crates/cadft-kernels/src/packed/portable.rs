//! Products of a packed matrix in tensor operations: their definition, and the oracle of the others. The whole matrix is
//! unpacked for each product, and freed after it.

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{Shape, Slice, TensorData};

use super::code::{BLOCK, GROUP, NF4, OVER_LEVELS};
use super::format::{PackedFormat, PackedLayout};
use crate::dynamic::SIGNED;
use crate::products::{MatmulKernels, Precision, backend_matmul};

/// `x Wᵀ`.
pub(super) fn projection<B: MatmulKernels>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    precision: Precision,
) -> FloatTensor<B> {
    match precision {
        Precision::F32 => backend_matmul::<B>(x, B::float_transpose(weight)),
        Precision::Bf16 => B::bf16_projection(x, weight),
    }
}

/// `g W`.
pub(super) fn input_gradient<B: MatmulKernels>(
    grad: FloatTensor<B>,
    weight: FloatTensor<B>,
    precision: Precision,
) -> FloatTensor<B> {
    match precision {
        Precision::F32 => backend_matmul::<B>(grad, weight),
        Precision::Bf16 => B::bf16_input_gradient(B::bf16_factor(grad), weight),
    }
}

/// The sums of the squares of the rows, `[output]`.
pub(super) fn squares<B: MatmulKernels>(weight: FloatTensor<B>) -> FloatTensor<B> {
    let output = weight.shape()[0];
    let squares = B::float_mul(weight.clone(), weight);
    B::float_reshape(B::float_sum_dim(squares, 1), Shape::new([output]))
}

/// The matrix in f32, `[output, input]`.
pub(super) fn values<B: MatmulKernels>(
    codes: &IntTensor<B>,
    scales: &FloatTensor<B>,
    layout: PackedLayout,
) -> FloatTensor<B> {
    let [output, input] = layout.shape;
    let of_weights = unpacked::<B>(codes, (0, layout.code_words()), layout.bits(), layout.count());
    let values = select::<B>(&table(layout.format), of_weights);
    match layout.format {
        PackedFormat::Bf16 => B::float_reshape(values, Shape::new(layout.shape)),
        PackedFormat::Int8 => {
            let column = B::float_reshape(scales.clone(), Shape::new([output, 1]));
            let values = B::float_mul(B::float_reshape(values, Shape::new([output, input])), column);
            B::float_mul_scalar(values, OVER_LEVELS.into())
        }
        PackedFormat::Nf4 => {
            let repeated = repeat::<B>(block_scales::<B>(codes, scales, layout), BLOCK, layout.count());
            B::float_reshape(B::float_mul(values, repeated), Shape::new(layout.shape))
        }
    }
}

/// What each code stands for, without its scale.
fn table(format: PackedFormat) -> Vec<f32> {
    match format {
        PackedFormat::Bf16 => (0..=u32::from(u16::MAX))
            .map(|bits| f32::from_bits(bits << 16))
            .collect(),
        PackedFormat::Int8 => (0..=u8::MAX).map(|byte| f32::from(byte.cast_signed())).collect(),
        // The first of two weights is in the upper half of a byte, and `unpacked` begins with the lower one.
        PackedFormat::Nf4 => NF4.to_vec(),
    }
}

/// The scales of the blocks of NF4, `[blocks]`.
fn block_scales<B: MatmulKernels>(
    codes: &IntTensor<B>,
    scales: &FloatTensor<B>,
    layout: PackedLayout,
) -> FloatTensor<B> {
    let (blocks, groups) = (layout.blocks(), layout.scales() - 1);
    let of_blocks = unpacked::<B>(codes, (layout.code_words(), layout.words()), 8, blocks);
    let values = select::<B>(&SIGNED.values, of_blocks);
    let of_groups = B::float_slice(scales.clone(), &[Slice::from(0..groups)]);
    let mean = B::float_slice(scales.clone(), &[Slice::from(groups..groups + 1)]);
    let scaled = B::float_mul(values, repeat::<B>(of_groups, GROUP, blocks));
    B::float_add(scaled, B::float_expand(mean, Shape::new([blocks])))
}

/// Every value `times` times, and the first `count` of these.
fn repeat<B: MatmulKernels>(values: FloatTensor<B>, times: usize, count: usize) -> FloatTensor<B> {
    let length = values.shape()[0];
    let column = B::float_reshape(values, Shape::new([length, 1]));
    let rows = B::float_expand(column, Shape::new([length, times]));
    let flat = B::float_reshape(rows, Shape::new([length * times]));
    B::float_slice(flat, &[Slice::from(0..count)])
}

/// The first `count` codes of the words `start..end`, each of `bits` bits, `[count]`.
fn unpacked<B: MatmulKernels>(
    codes: &IntTensor<B>,
    (start, end): (usize, usize),
    bits: usize,
    count: usize,
) -> IntTensor<B> {
    let words = B::int_slice(codes.clone(), &[Slice::from(start..end)]);
    let (length, per_word) = (end - start, 32 / bits);
    let column = B::int_reshape(words, Shape::new([length, 1]));
    let mask = (1i32 << bits) - 1;
    let parts = (0..per_word)
        .map(|part| {
            // Two codes of 4 bits in a byte: the upper one comes first.
            let place = if bits == 4 { part ^ 1 } else { part };
            let shifted = B::bitwise_right_shift_scalar(column.clone(), ((place * bits) as i32).into());
            B::bitwise_and_scalar(shifted, mask.into())
        })
        .collect();
    let flat = B::int_reshape(B::int_cat(parts, 1), Shape::new([length * per_word]));
    B::int_slice(flat, &[Slice::from(0..count)])
}

fn select<B: MatmulKernels>(table: &[f32], codes: IntTensor<B>) -> FloatTensor<B> {
    let data = TensorData::new(table.to_vec(), [table.len()]);
    let table = B::float_from_data(data, &codes.device());
    B::float_select(table, 0, codes)
}
