//! Unpacking rows of a packed matrix, on slices.

use std::ops::Range;

use super::code::{BLOCK, GROUP, NF4, OVER_LEVELS};
use super::format::{PackedFormat, PackedLayout};
use crate::cpu::vectorised;
use crate::dynamic::SIGNED;

/// A packed matrix in memory.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) codes: &'a [i32],
    pub(super) scales: &'a [f32],
    pub(super) layout: PackedLayout,
}

impl Matrix<'_> {
    /// Unpacks rows into `out`, `[rows * input]`.
    pub(super) fn unpack(&self, rows: Range<usize>, out: &mut [f32]) {
        let [_, input] = self.layout.shape;
        vectorised(
            #[inline(always)]
            || match self.layout.format {
                PackedFormat::Bf16 => decode(self.codes, rows.start * input, out, |word| {
                    [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)]
                }),
                PackedFormat::Int8 => self.int8(rows.start, out),
                PackedFormat::Nf4 => self.nf4(rows.start * input, out),
            },
        );
    }

    #[inline(always)]
    fn int8(&self, first: usize, out: &mut [f32]) {
        let [_, input] = self.layout.shape;
        for (row, out) in (first..).zip(out.chunks_mut(input)) {
            let scale = self.scales[row];
            decode(self.codes, row * input, out, |word| {
                word.to_le_bytes()
                    .map(|byte| f32::from(byte.cast_signed()) * scale * OVER_LEVELS)
            });
        }
    }

    #[inline(always)]
    fn nf4(&self, first: usize, out: &mut [f32]) {
        let mut at = first;
        let mut out = out;
        while !out.is_empty() {
            let block = at / BLOCK;
            let (part, rest) = out.split_at_mut(((block + 1) * BLOCK - at).min(out.len()));
            let scale = self.block_scale(block);
            let values = NF4.map(|value| value * scale);
            let of = |word: u32, shift: u32| values[(word >> shift & 0xf) as usize];
            decode(self.codes, at, part, |word| {
                [4, 0, 12, 8, 20, 16, 28, 24].map(|shift| of(word, shift))
            });
            at += part.len();
            out = rest;
        }
    }

    /// The scale of a block of NF4.
    #[inline(always)]
    fn block_scale(&self, block: usize) -> f32 {
        let word = self.codes[self.layout.code_words() + block / 4];
        let code = word.to_le_bytes()[block % 4];
        let mean = self.scales[self.scales.len() - 1];
        SIGNED.values[usize::from(code)] * self.scales[block / GROUP] + mean
    }
}

/// Decodes the codes from number `first` on, `N` in each word.
#[inline(always)]
fn decode<const N: usize>(codes: &[i32], first: usize, out: &mut [f32], word: impl Fn(u32) -> [f32; N]) {
    let skipped = first % N;
    let head = if skipped == 0 {
        0
    } else {
        (N - skipped).min(out.len())
    };
    let (partial, out) = out.split_at_mut(head);
    if head > 0 {
        let values = word(codes[first / N].cast_unsigned());
        partial.copy_from_slice(&values[skipped..skipped + head]);
    }
    let codes = &codes[(first + head).div_ceil(N)..];
    let (whole, tail) = out.as_chunks_mut::<N>();
    let count = whole.len();
    for (out, code) in whole.iter_mut().zip(codes) {
        *out = word(code.cast_unsigned());
    }
    if !tail.is_empty() {
        let values = word(codes[count].cast_unsigned());
        tail.copy_from_slice(&values[..tail.len()]);
    }
}
