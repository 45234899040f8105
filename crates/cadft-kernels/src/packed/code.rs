//! The tables of bitsandbytes: what the codes of NF4 and of its scales stand for.

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
pub(super) static NF4_BOUNDS: LazyLock<Vec<f32>> = LazyLock::new(|| bounds(&NF4));

/// The dynamic map of 8 bits (Dettmers 2015, arXiv 1511.04561): seven decades, each with twice as many values as the
/// one below, then 0 and 1, in order.
pub(super) static MAP: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let mut map: Vec<f32> = vec![0.0, 1.0];
    for decade in 0..7 {
        let items = 1usize << decade;
        let factor = 10f64.powi(decade - 6) as f32;
        let bound = |index: usize| linspace(index, items + 1);
        for item in 0..items {
            let value = factor * ((bound(item) + bound(item + 1)) / 2.0);
            map.extend([value, -value]);
        }
    }
    map.sort_by(f32::total_cmp);
    map
});

/// The values half-way between neighbours of [`MAP`].
pub(super) static MAP_BOUNDS: LazyLock<Vec<f32>> = LazyLock::new(|| bounds(&MAP));

/// The code whose value is nearest; of two as near the lower one.
pub(super) fn nearest(value: f32, bounds: &[f32]) -> u8 {
    bounds.partition_point(|&bound| bound < value) as u8
}

fn bounds(table: &[f32]) -> Vec<f32> {
    table
        .windows(2)
        .map(|pair| f32::midpoint(pair[0], pair[1]))
        .collect()
}

/// Number `index` of `count` equally spaced values from 0.1 to 1, as `torch.linspace` computes them: from the nearer end,
/// rounded once.
fn linspace(index: usize, count: usize) -> f32 {
    let (start, step) = (0.1f32, (1.0 - 0.1f32) / (count - 1) as f32);
    let exact = if index < count / 2 {
        f64::from(start) + f64::from(step) * index as f64
    } else {
        1.0 - f64::from(step) * (count - index - 1) as f64
    };
    exact as f32
}
