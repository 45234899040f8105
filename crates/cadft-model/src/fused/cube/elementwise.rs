//! Gated units: a few values a thread, all of them read before the first is used.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use crate::fused::Activation;

/// `2 √(2/π)`, by which the tanh form of GELU bends.
const BEND: f32 = 1.595_769_2;
const CUBIC: f32 = 0.044_715;
/// Values of a thread. Neighbours are those of other threads.
pub(super) const VALUES: usize = 4;

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).exp())
}

/// The values of a thread, the first at `first` and the others as many places apart as a cube has threads.
#[cube]
fn few(x: &Tensor<f32>, first: usize) -> Array<f32> {
    let mut values = Array::<f32>::new(VALUES);
    #[unroll]
    for index in 0..VALUES {
        let at = first + index * CUBE_DIM as usize;
        if at < x.len() {
            values[index] = x[at];
        }
    }
    values
}

/// `activation(gate) · up`.
#[cube(launch)]
pub(super) fn gated<O: Float>(
    gate: &Tensor<f32>,
    up: &Tensor<f32>,
    output: &mut Tensor<O>,
    #[comptime] activation: Activation,
    #[define(O)] _dtype: ElemType,
) {
    let first = CUBE_POS * comptime!(VALUES) * CUBE_DIM as usize + UNIT_POS as usize;
    let gates = few(gate, first);
    let ups = few(up, first);
    #[unroll]
    for index in 0..VALUES {
        let at = first + index * CUBE_DIM as usize;
        if at < output.len() {
            let x = gates[index];
            let mut inner = x;
            if comptime!(activation == Activation::GeluTanh) {
                inner = BEND * (x + CUBIC * x * x * x);
            }
            output[at] = O::cast_from(x * sigmoid(inner) * ups[index]);
        }
    }
}

/// Gradients of `gate` and `up`.
#[cube(launch)]
pub(super) fn gated_gradients<O: Float>(
    gate: &Tensor<f32>,
    up: &Tensor<f32>,
    grad: &Tensor<f32>,
    d_gate: &mut Tensor<O>,
    d_up: &mut Tensor<O>,
    #[comptime] activation: Activation,
    #[define(O)] _dtype: ElemType,
) {
    let first = CUBE_POS * comptime!(VALUES) * CUBE_DIM as usize + UNIT_POS as usize;
    let gates = few(gate, first);
    let ups = few(up, first);
    let grads = few(grad, first);
    #[unroll]
    for index in 0..VALUES {
        let at = first + index * CUBE_DIM as usize;
        if at < d_gate.len() {
            let x = gates[index];
            let mut inner = x;
            // How the argument of the sigmoid changes with x.
            let mut slope = 1.0f32;
            if comptime!(activation == Activation::GeluTanh) {
                inner = BEND * (x + CUBIC * x * x * x);
                slope = BEND * (1.0f32 + 3.0f32 * CUBIC * x * x);
            }
            let share = sigmoid(inner);
            let bend = 1.0f32 + x * slope * (1.0f32 - share);
            d_up[at] = O::cast_from(grads[index] * x * share);
            d_gate[at] = O::cast_from(grads[index] * ups[index] * share * bend);
        }
    }
}
