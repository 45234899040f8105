//! Gated units: each thread handles a few values, and reads all of them before it uses the first.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use crate::fused::Activation;

/// `2 √(2/π)`, a constant of the tanh form of GELU.
const BEND: f32 = 1.595_769_2;
const CUBIC: f32 = 0.044_715;
/// Values per thread. Neighbouring values belong to different threads.
pub(super) const VALUES: usize = 4;

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).exp())
}

/// The values of a thread: the first at `first`, the others at a distance of `CUBE_DIM`.
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

/// The gradients of `gate` and `up`.
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
            // The derivative of the sigmoid's argument with respect to x.
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
