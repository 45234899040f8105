//! Sums of many values: many threads sum parts in parallel, then the partial sums are summed in the same way.
//!
//! `CubeCL`'s own reductions use few threads per sum, so a large device idles if there are few sums. On an H200 the
//! column sums of `16384 × 256` took 1.4 ms, for 16 MiB to read.

use super::reduce::sum_of_cube;
use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::{calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Rows that one thread sums.
const ROWS: usize = 64;
const THREADS: usize = 256;
/// Values that a thread reads before it adds them.
const AT_ONCE: usize = 4;
/// Largest number of cubes that share a sum.
const CUBES: usize = 1024;

/// The sums of the columns of an f32 matrix. The order of addition depends only on the shape.
///
/// # Shapes
/// `x`: `[rows, columns]`, at least one row; output: `[columns]`
#[must_use]
pub fn column_sums(x: CubeTensor) -> CubeTensor {
    let mut x = into_contiguous(x);
    let [mut rows, columns] = x.shape().dims();
    while rows > 1 {
        let parts = empty(&x, [rows.div_ceil(ROWS), columns]);
        let dim = CubeDim::new_1d(THREADS as u32);
        sum_rows::launch(
            &x.client,
            calculate_cube_count_elemwise(&x.client, parts.shape().num_elements(), dim),
            dim,
            x.clone().into_tensor_arg(),
            parts.clone().into_tensor_arg(),
            ROWS,
        );
        [rows, _] = parts.shape().dims();
        x = parts;
    }
    burn_cubecl::ops::reshape(x, Shape::new([columns]))
}

/// The sum of the squares of f32 values. The order of addition depends only on their number.
///
/// # Shapes
/// `x`: any; output: `[1]`
#[must_use]
pub fn sum_of_squares(x: CubeTensor) -> CubeTensor {
    let x = into_contiguous(x);
    let cubes = x.shape().num_elements().div_ceil(THREADS * ROWS).clamp(1, CUBES);
    let parts = empty(&x, [cubes]);
    let sum = empty(&x, [1]);
    for (from, into, is_squared) in [(&x, &parts, true), (&parts, &sum, false)] {
        sum_all::launch(
            &x.client,
            CubeCount::Static(into.shape().num_elements() as u32, 1, 1),
            CubeDim::new_1d(THREADS as u32),
            from.clone().into_tensor_arg(),
            into.clone().into_tensor_arg(),
            is_squared,
            THREADS,
        );
    }
    sum
}

/// An uninitialised contiguous f32 tensor on the device of `like`.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::new(shape), DType::F32)
}

/// Each thread sums some rows of one column.
#[cube(launch)]
fn sum_rows(x: &Tensor<f32>, parts: &mut Tensor<f32>, #[comptime] rows_of_thread: usize) {
    if ABSOLUTE_POS >= parts.len() {
        terminate!();
    }
    let columns = x.shape(1);
    let column = ABSOLUTE_POS % columns;
    let first = ABSOLUTE_POS / columns * rows_of_thread;
    let mut sum = 0.0f32;
    for index in 0..rows_of_thread {
        let row = first + index;
        if row < x.shape(0) {
            sum += x[row * columns + column];
        }
    }
    parts[ABSOLUTE_POS] = sum;
}

/// All cubes stride through the values together; each stores the sum of its share.
#[cube(launch)]
fn sum_all(
    x: &Tensor<f32>,
    parts: &mut Tensor<f32>, // one per cube
    #[comptime] is_squared: bool,
    #[comptime] threads: usize,
) {
    let mut sum = 0.0f32;
    let mut at = ABSOLUTE_POS;
    let step = parts.len() * comptime!(threads);
    while at < x.len() {
        #[unroll]
        for index in 0..AT_ONCE {
            let mut value = 0.0f32;
            if at + index * step < x.len() {
                value = x[at + index * step];
            }
            if comptime!(is_squared) {
                value *= value;
            }
            sum += value;
        }
        at += comptime!(AT_ONCE) * step;
    }
    let sum = sum_of_cube(sum, threads);
    if UNIT_POS == 0 {
        parts[CUBE_POS] = sum;
    }
}
