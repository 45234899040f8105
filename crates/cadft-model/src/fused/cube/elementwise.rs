//! Gated units: one thread a value.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use crate::fused::Activation;

/// `2 √(2/π)`, by which the tanh form of GELU bends.
const BEND: f32 = 1.595_769_2;
const CUBIC: f32 = 0.044_715;

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).exp())
}

/// `activation(gate) · up`.
#[cube(launch)]
pub(super) fn gated(
    gate: &Tensor<f32>,
    up: &Tensor<f32>,
    output: &mut Tensor<f32>,
    #[comptime] activation: Activation,
) {
    let at = ABSOLUTE_POS;
    if at >= output.len() {
        terminate!();
    }
    let x = gate[at];
    let mut inner = x;
    if comptime!(activation == Activation::GeluTanh) {
        inner = BEND * (x + CUBIC * x * x * x);
    }
    output[at] = x * sigmoid(inner) * up[at];
}

/// Gradients of `gate` and `up`.
#[cube(launch)]
pub(super) fn gated_gradients(
    gate: &Tensor<f32>,
    up: &Tensor<f32>,
    grad: &Tensor<f32>,
    d_gate: &mut Tensor<f32>,
    d_up: &mut Tensor<f32>,
    #[comptime] activation: Activation,
) {
    let at = ABSOLUTE_POS;
    if at >= d_gate.len() {
        terminate!();
    }
    let x = gate[at];
    let mut inner = x;
    // How the argument of the sigmoid changes with x.
    let mut slope = 1.0f32;
    if comptime!(activation == Activation::GeluTanh) {
        inner = BEND * (x + CUBIC * x * x * x);
        slope = BEND * (1.0f32 + 3.0f32 * CUBIC * x * x);
    }
    let share = sigmoid(inner);
    d_up[at] = grad[at] * x * share;
    d_gate[at] = grad[at] * up[at] * share * (1.0f32 + x * slope * (1.0f32 - share));
}
