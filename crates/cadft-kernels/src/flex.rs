//! Between tensors of the Flex backend and slices.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape, TensorData, bf16};
use rayon::prelude::*;

use crate::cpu::{self, Threads, View, round_to_bf16};

/// A tensor of the backend.
pub type Float = FloatTensor<Flex>;

/// Values that one task converts.
const BLOCK: usize = 1 << 15;

/// The tensor in row-major order; a copy, if it is not yet.
#[must_use]
pub fn contiguous(x: Float) -> Float {
    if x.as_slice::<f32>().is_some() {
        x
    } else {
        x.to_contiguous()
    }
}

/// A tensor that is all of its storage, in order: what is changed in place.
#[must_use]
pub fn whole(x: Float) -> Float {
    let stored = x.storage::<f32>().len();
    if x.as_slice::<f32>().is_some_and(|values| values.len() == stored) {
        x
    } else {
        x.to_contiguous()
    }
}

/// The values of a contiguous f32 tensor.
///
/// # Panics
/// If the tensor is not contiguous, or not f32.
#[must_use]
pub fn floats(x: &Float) -> &[f32] {
    x.as_slice::<f32>().expect("a contiguous f32 tensor has a slice")
}

/// A contiguous f32 tensor of two dimensions.
///
/// # Panics
/// As [`floats`].
#[must_use]
pub fn view(x: &Float) -> View<'_> {
    let [rows, columns] = x.shape().dims::<2>();
    View::new(floats(x), rows, columns)
}

/// A tensor of these values in row-major order.
#[must_use]
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Float {
    Float::from_data(TensorData::new(values, Shape::new(shape)))
}

/// `a b` on all threads.
#[must_use]
pub fn product(a: View<'_>, b: View<'_>) -> Float {
    let shape = [a.rows(), b.columns()];
    tensor(cpu::product(a, b, Threads::All), shape)
}

/// The values in f32, rounded to what bf16 holds: widened, if they are bf16 already.
#[must_use]
pub fn bf16_factor(x: Float) -> Vec<f32> {
    if x.dtype() != DType::BF16 {
        let mut values = floats(&contiguous(x)).to_vec();
        values.par_chunks_mut(BLOCK).for_each(round_to_bf16);
        return values;
    }
    let x = if x.as_slice::<bf16>().is_some() {
        x
    } else {
        x.to_contiguous()
    };
    let narrow = x
        .as_slice::<bf16>()
        .expect("a contiguous bf16 tensor has a slice");
    narrow
        .par_iter()
        .with_min_len(BLOCK)
        .map(|value| f32::from_bits(u32::from(value.to_bits()) << 16))
        .collect()
}

/// The tensor in bf16.
#[must_use]
pub fn to_bf16(x: Float) -> Float {
    if x.dtype() == DType::BF16 {
        return x;
    }
    let shape = x.shape();
    let x = contiguous(x);
    let values: Vec<bf16> = floats(&x)
        .par_iter()
        .with_min_len(BLOCK)
        .map(|&value| bf16::from_bits(cpu::bf16_bits(value)))
        .collect();
    Float::from_data(TensorData::new(values, shape))
}
