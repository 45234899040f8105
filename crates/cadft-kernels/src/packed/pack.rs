//! Packing: to the nearest code, bit for bit as the `default` kernels of bitsandbytes.
//!
//! Deviation: `Linear8bitLt` rounds weights to f16 before they become int8; here they stay f32. The mean of NF4's scales is
//! summed in f64; `PyTorch` sums in f32, in an order that depends on the processor. The kernel that bitsandbytes has for
//! CPUs looks the codes of scales up in a table of 65536 steps, and misses the nearest one at times; its kernels for GPUs
//! do not, and neither do these.

use rayon::prelude::*;

use super::code::{BLOCK, GROUP, LEVELS, NF4_BOUNDS};
use super::format::{PackedFormat, PackedLayout};
use crate::cpu::bf16_bits;
use crate::dynamic::{SIGNED, code_below};

/// Below this, a largest magnitude is not divided by.
const SMALLEST: f32 = 1e-38;
/// Blocks that one task packs.
const TASK: usize = 256;

/// The parts of a packed matrix.
pub(super) struct Stored {
    pub(super) codes: Vec<i32>,
    pub(super) scales: Vec<f32>,
}

/// Packs the values of a matrix.
pub(super) fn pack(values: &[f32], layout: PackedLayout) -> Stored {
    let [_, input] = layout.shape;
    match layout.format {
        PackedFormat::Bf16 => bf16(values),
        PackedFormat::Int8 => int8(values, input),
        PackedFormat::Nf4 => nf4(values),
    }
}

fn bf16(values: &[f32]) -> Stored {
    let bits = |value: Option<&f32>| value.map_or(0, |value| u32::from(bf16_bits(*value)));
    let codes = values
        .par_chunks(2)
        .map(|pair| (bits(pair.first()) | bits(pair.get(1)) << 16).cast_signed())
        .collect();
    Stored {
        codes,
        scales: vec![1.0],
    }
}

/// A row of zeros has codes 0.
fn int8(values: &[f32], input: usize) -> Stored {
    let mut bytes = vec![0u8; values.len()];
    let scales = bytes
        .par_chunks_mut(input)
        .zip(values.par_chunks(input))
        .map(|(bytes, row)| {
            let largest = largest(row);
            // `PyTorch` divides a number by a tensor in two steps.
            let factor = (1.0 / largest) * LEVELS;
            for (byte, value) in bytes.iter_mut().zip(row) {
                *byte = ((value * factor).round_ties_even() as i8).cast_unsigned();
            }
            largest
        })
        .collect();
    Stored {
        codes: words(&bytes),
        scales,
    }
}

fn nf4(values: &[f32]) -> Stored {
    let mut bytes = vec![0u8; values.len().div_ceil(2)];
    let mut of_blocks = vec![0.0; values.len().div_ceil(BLOCK)];
    bytes
        .par_chunks_mut(TASK * BLOCK / 2)
        .zip(values.par_chunks(TASK * BLOCK))
        .zip(of_blocks.par_chunks_mut(TASK))
        .for_each(|((bytes, values), scales)| {
            let blocks = bytes.chunks_mut(BLOCK / 2).zip(values.chunks(BLOCK)).zip(scales);
            for ((bytes, block), scale) in blocks {
                *scale = pack_block(bytes, block);
            }
        });
    let (of_scales, scales) = pack_scales(&of_blocks);
    let mut codes = words(&bytes);
    codes.extend(words(&of_scales));
    Stored { codes, scales }
}

/// Packs up to [`BLOCK`] weights, two in a byte, the first in the upper half. Returns their scale.
fn pack_block(bytes: &mut [u8], block: &[f32]) -> f32 {
    let (scale, scaled) = scaled(block, BLOCK);
    let code = |value: Option<&f32>| {
        // bitsandbytes pads with a 0 before it packs.
        code_below(value.map_or(0.0, |value| scaled(*value)), &NF4_BOUNDS)
    };
    for (byte, pair) in bytes.iter_mut().zip(block.chunks(2)) {
        *byte = code(pair.first()) << 4 | code(pair.get(1));
    }
    scale
}

/// The codes of the scales of blocks; their own scales, one for each [`GROUP`], and the mean at the end.
fn pack_scales(of_blocks: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let sum: f64 = of_blocks.iter().copied().map(f64::from).sum();
    let mean = (sum / of_blocks.len() as f64) as f32;
    let (mut codes, mut scales) = (Vec::with_capacity(of_blocks.len()), vec![]);
    for group in of_blocks.chunks(GROUP) {
        let apart: Vec<f32> = group.iter().map(|scale| scale - mean).collect();
        let (scale, scaled) = scaled(&apart, GROUP);
        codes.extend(apart.iter().map(|&value| SIGNED.nearest(scaled(value))));
        scales.push(scale);
    }
    scales.push(mean);
    (codes, scales)
}

/// The largest magnitude of a block, and what scales its values to −1..=1. bitsandbytes multiplies by the inverse, and
/// divides the values of a last block that is not `full`.
fn scaled(block: &[f32], full: usize) -> (f32, impl Fn(f32) -> f32 + use<>) {
    let is_full = block.len() == full;
    let found = largest(block);
    let bounded = found.max(SMALLEST);
    let inverse = 1.0 / bounded;
    let scale = if is_full { found } else { bounded };
    let apply = move |value: f32| {
        let scaled = if is_full { value * inverse } else { value / bounded };
        scaled.clamp(-1.0, 1.0)
    };
    (scale, apply)
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| most.max(value.abs()))
}

/// Four bytes in each word, the first in the lowest.
fn words(bytes: &[u8]) -> Vec<i32> {
    bytes
        .chunks(4)
        .map(|part| {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            i32::from_le_bytes(word)
        })
        .collect()
}
