//! The kernels: one cube of threads per row for the online log-sum-exp, one thread per value for the gradient.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use cadft_kernels::reduce::{larger, max_of_cube, sum_of_cube};

/// Threads that share a row; a power of two.
pub(super) const THREADS: usize = 256;

/// Merges a tile of logits into the running `max` and `sum` of every row, and stores the logit of its target.
///
/// After the last tile, `log Σ exp = max + ln(sum)`. `is_first` overwrites the running values; other tiles update them.
#[cube(launch)]
pub(super) fn online_log_sum_exp<I: Int>(
    logits: &Tensor<f32>,  // [rows, columns]
    targets: &Tensor<I>,   // [rows]
    max: &mut Tensor<f32>, // [rows]
    sum: &mut Tensor<f32>,
    of_target: &mut Tensor<f32>,
    first_column: u32,
    #[comptime] is_first: bool,
    #[define(I)] _target: ElemType,
) {
    let row = CUBE_POS;
    if row >= targets.len() {
        terminate!();
    }
    let columns = logits.shape(1);
    let start = row * columns;

    // Each thread takes every `CUBE_DIM`-th column of the row.
    let mut largest = f32::min_value();
    let mut column = UNIT_POS as usize;
    while column < columns {
        largest = larger(largest, logits[start + column]);
        column += CUBE_DIM as usize;
    }
    let largest = max_of_cube(largest, THREADS);

    let mut partial = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < columns {
        partial += (logits[start + column] - largest).exp();
        column += CUBE_DIM as usize;
    }
    let partial = sum_of_cube(partial, THREADS);

    if UNIT_POS == 0 {
        let target = u32::cast_from(targets[row]);
        if target >= first_column && target < first_column + columns as u32 {
            of_target[row] = logits[start + (target - first_column) as usize];
        }
        if is_first {
            max[row] = largest;
            sum[row] = partial;
        } else {
            let before = max[row];
            let merged = larger(before, largest);
            sum[row] = sum[row] * (before - merged).exp() + partial * (largest - merged).exp();
            max[row] = merged;
        }
    }
}

/// `output = grad · (onehot(target) − exp(logits − log_sum_exp))` for every value of a tile.
#[cube(launch)]
pub(super) fn logit_gradients<O: Float, I: Int>(
    logits: &Tensor<f32>,      // [rows, columns]
    targets: &Tensor<I>,       // [rows]
    log_sum_exp: &Tensor<f32>, // [rows]
    grad: &Tensor<f32>,        // [rows]
    output: &mut Tensor<O>,    // [rows, columns]
    first_column: u32,
    #[define(O, I)] _dtypes: [ElemType; 2],
) {
    let index = ABSOLUTE_POS;
    if index >= output.len() {
        terminate!();
    }
    let columns = logits.shape(1);
    let row = index / columns;
    let column = index % columns;
    let mut value = -(logits[index] - log_sum_exp[row]).exp();
    if u32::cast_from(targets[row]) == first_column + column as u32 {
        value += 1.0f32;
    }
    output[index] = O::cast_from(value * grad[row]);
}
