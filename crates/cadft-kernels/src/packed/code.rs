//! What the codes of NF4 stand for, and the constants of bitsandbytes. The codes of its scales are those of `dynamic.rs`.

use crate::dynamic::midpoints;
use std::sync::LazyLock;

/// Weights that share a scale.
pub(super) const BLOCK: usize = 64;
/// Scales that share a scale of their own.
pub(super) const GROUP: usize = 256;
/// Codes of int8 in either direction.
pub(super) const LEVELS: f32 = 127.0;
/// What bitsandbytes multiplies by to divide by [`LEVELS`].
pub(super) const OVER_LEVELS: f32 = 7.874_016e-3;

/// Quantiles of the normal distribution, with exact 0 and ±1.
pub(super) const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The values half-way between neighbours of [`NF4`].
pub(super) static NF4_BOUNDS: LazyLock<Vec<f32>> = LazyLock::new(|| midpoints(&NF4));
