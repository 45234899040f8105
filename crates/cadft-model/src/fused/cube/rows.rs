//! The norm of rows: one cube of threads per row; for the gradient of the weight, one thread per column of a few rows.
//! Also the addition of rows by index: one cube of threads for all rows with the same index.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use cadft_kernels::reduce::sum_of_cube;

/// `y = w · x · r`, `r = 1 / √(mean(x²) + ε)`.
#[cube(launch)]
pub(super) fn rms_norm(
    x: &Tensor<f32>,           // [.., hidden]
    weight: &Tensor<f32>,      // [hidden]
    output: &mut Tensor<f32>,  // as x
    inverse: &mut Tensor<f32>, // [rows]
    epsilon: f32,
    #[comptime] threads: usize,
) {
    let row = CUBE_POS;
    if row >= inverse.len() {
        terminate!();
    }
    let hidden = weight.len();
    let start = row * hidden;
    let mut squares = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < hidden {
        let value = x[start + column];
        squares += value * value;
        column += CUBE_DIM as usize;
    }
    let squares = sum_of_cube(squares, threads);
    let scale = 1.0f32 / (squares / f32::cast_from(hidden as u32) + epsilon).sqrt();
    let mut column = UNIT_POS as usize;
    while column < hidden {
        output[start + column] = x[start + column] * scale * weight[column];
        column += CUBE_DIM as usize;
    }
    if UNIT_POS == 0 {
        inverse[row] = scale;
    }
}

/// `dx = r w g − x r³ mean(w g x)`.
#[cube(launch)]
pub(super) fn rms_norm_input_gradient(
    x: &Tensor<f32>,       // [.., hidden]
    weight: &Tensor<f32>,  // [hidden]
    inverse: &Tensor<f32>, // [rows]
    grad: &Tensor<f32>,    // as x
    d_x: &mut Tensor<f32>, // as x
    #[comptime] threads: usize,
) {
    let row = CUBE_POS;
    if row >= inverse.len() {
        terminate!();
    }
    let hidden = weight.len();
    let start = row * hidden;
    let mut along = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < hidden {
        along += weight[column] * grad[start + column] * x[start + column];
        column += CUBE_DIM as usize;
    }
    let along = sum_of_cube(along, threads) / f32::cast_from(hidden as u32);
    let scale = inverse[row];
    let pull = along * scale * scale * scale;
    let mut column = UNIT_POS as usize;
    while column < hidden {
        let at = start + column;
        d_x[at] = scale * weight[column] * grad[at] - x[at] * pull;
        column += CUBE_DIM as usize;
    }
}

/// `Σ g x r` over every `rows_of_thread` rows.
#[cube(launch)]
pub(super) fn rms_norm_weight_gradient(
    x: &Tensor<f32>,         // [.., hidden]
    inverse: &Tensor<f32>,   // [rows]
    grad: &Tensor<f32>,      // as x
    parts: &mut Tensor<f32>, // [rows / rows_of_thread, hidden]
    #[comptime] rows_of_thread: usize,
) {
    if ABSOLUTE_POS >= parts.len() {
        terminate!();
    }
    let hidden = parts.shape(1);
    let column = ABSOLUTE_POS % hidden;
    let first = ABSOLUTE_POS / hidden * rows_of_thread;
    let mut sum = 0.0f32;
    for index in 0..rows_of_thread {
        let row = first + index;
        if row < inverse.len() {
            let at = row * hidden + column;
            sum += grad[at] * x[at] * inverse[row];
        }
    }
    parts[ABSOLUTE_POS] = sum;
}

/// Adds rows to the rows of `output` that `ids` selects; rows with the same index are added in the order of `grad`.
#[cube(launch)]
pub(super) fn scatter<I: Int>(
    grad: &Tensor<f32>, // [selected, columns]
    ids: &Tensor<I>,    // [selected]
    output: &mut Tensor<f32>,
    #[comptime] threads: usize,
    #[define(I)] _dtype: ElemType,
) {
    let selected = ids.len();
    if CUBE_POS >= selected {
        terminate!();
    }
    let id = ids[CUBE_POS];
    let thread = UNIT_POS as usize;
    // The cube of the first row with an id adds all rows with that id.
    let mut earlier = 0.0f32;
    let mut at = thread;
    while at < CUBE_POS {
        if ids[at] == id {
            earlier = 1.0f32;
        }
        at += CUBE_DIM as usize;
    }
    if sum_of_cube(earlier, threads) > 0.0f32 {
        terminate!();
    }
    let columns = grad.shape(1);
    let row = u32::cast_from(id) as usize * output.stride(0);
    let mut is_same = Shared::<[f32]>::new_slice(threads);
    let mut first = CUBE_POS;
    while first < selected {
        let mut same = 0.0f32;
        if first + thread < selected && ids[first + thread] == id {
            same = 1.0f32;
        }
        is_same[thread] = same;
        if sum_of_cube(same, threads) > 0.0f32 {
            for index in 0..threads {
                if is_same[index] > 0.0f32 {
                    let mut column = thread;
                    while column < columns {
                        let at = row + column * output.stride(1);
                        let sum = output[at] + grad[(first + index) * columns + column];
                        output[at] = sum;
                        column += CUBE_DIM as usize;
                    }
                }
            }
        }
        sync_cube();
        first += CUBE_DIM as usize;
    }
}
