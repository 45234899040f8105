//! The norm of rows: one cube of threads a row, and one thread a column of a few rows for the gradient of the weight.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use cadft_matmul::reduce::sum_of_cube;

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

/// `Σ g x r` over each `rows_of_thread` rows.
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
