//! The dynamic maps of 8 bits: 256 values from −1 or 0 to 1, and the code of the nearest of them to a number.
//!
//! ```text
//! c = 10^(d−6) · (b_i + b_{i+1})/2       d = 0 … 6;  b: n + 1 equally spaced numbers from 0.1 to 1
//! signed      n = 2^d        the values are 0, 1 and ±c
//! unsigned    n = 2^(d+1)    the values are 0, 1 and c
//! ```
//!
//! Dettmers, 8-Bit Approximations for Parallelism in Deep Learning (arXiv 1511.04561). The values are those of bitsandbytes'
//! `create_dynamic_map`, bit for bit. It keeps the scales of `NF4` and the moments of optimizers in them.

use std::sync::LazyLock;

/// A map, and what finds the code of a number in it.
pub struct DynamicMap {
    /// The values of the codes, in order.
    pub values: [f32; 256],
    /// The values half-way between neighbours; infinity after the last.
    bounds: [f32; 256],
    /// By the upper half of a number's bits: the number of bounds below the least number that has this half.
    first: Box<[u8]>,
}

/// The map of numbers of both signs.
pub static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| {
    let mut values = vec![0.0, 1.0];
    for value in decades(1) {
        values.extend([value, -value]);
    }
    DynamicMap::new(values)
});

/// The map of numbers that are not negative.
pub static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| {
    let mut values = vec![0.0, 1.0];
    values.extend(decades(2));
    DynamicMap::new(values)
});

impl DynamicMap {
    fn new(mut values: Vec<f32>) -> Self {
        values.sort_by(f32::total_cmp);
        let values: [f32; 256] = values.try_into().expect("seven decades make 254 values");
        let mut bounds = [f32::INFINITY; 256];
        bounds[..255].copy_from_slice(&midpoints(&values));
        let least = |half: u32| {
            // The upper half of a negative number is that of its largest size, and so of the least number.
            let is_negative = half >> 15 == 1;
            f32::from_bits(half << 16 | if is_negative { 0xffff } else { 0 })
        };
        let first = (0..=0xffff).map(|half| code_below(least(half), &bounds[..255]));
        Self {
            values,
            bounds,
            first: first.collect(),
        }
    }

    /// The code whose value is nearest to `x`, which is from −1 to 1; of two as near the lower one.
    ///
    /// ```
    /// use cadft_kernels::dynamic::{SIGNED, UNSIGNED};
    /// assert_eq!(SIGNED.values[usize::from(SIGNED.nearest(0.0))], 0.0);
    /// assert_eq!(UNSIGNED.values[usize::from(UNSIGNED.nearest(0.999))], 1.0);
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn nearest(&self, x: f32) -> u8 {
        // At most one bound lies between two numbers with the same upper half.
        let first = self.first[(x.to_bits() >> 16) as usize];
        first + u8::from(self.bounds[usize::from(first)] < x)
    }
}

/// The number of `bounds` below `x`.
pub(crate) fn code_below(x: f32, bounds: &[f32]) -> u8 {
    bounds.partition_point(|&bound| bound < x) as u8
}

/// The values half-way between neighbours.
pub(crate) fn midpoints(values: &[f32]) -> Vec<f32> {
    values
        .windows(2)
        .map(|pair| f32::midpoint(pair[0], pair[1]))
        .collect()
}

/// The values of seven decades, each with twice as many as the one below; the lowest has `least`.
fn decades(least: usize) -> impl Iterator<Item = f32> {
    (0..7).flat_map(move |decade| {
        let items = least << decade;
        let factor = 10f64.powi(decade - 6) as f32;
        let bound = move |index: usize| linspace(index, items + 1);
        (0..items).map(move |item| factor * ((bound(item) + bound(item + 1)) / 2.0))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_finds_the_nearest_code_of_every_number() {
        for map in [&*SIGNED, &*UNSIGNED] {
            let least = map.values[0];
            for bits in (0..=u32::MAX).step_by(251) {
                let x = f32::from_bits(bits);
                if x >= least && x <= 1.0 {
                    assert_eq!(map.nearest(x), code_below(x, &map.bounds[..255]), "{x:e}");
                }
            }
            for (code, &value) in map.values.iter().enumerate() {
                assert_eq!(usize::from(map.nearest(value)), code, "{value:e}");
            }
            for (code, &bound) in map.bounds[..255].iter().enumerate() {
                assert_eq!(
                    usize::from(map.nearest(bound)),
                    code,
                    "of two as near the lower one"
                );
                assert_eq!(usize::from(map.nearest(bound.next_up())), code + 1);
            }
        }
    }
}
