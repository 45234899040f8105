//! `x Wᵀ` for few rows; the weight is read once, in its stored order.
//!
//! Every output is one dot product, summed in the same order for any number of rows. So the result of a row does not
//! depend on its batch, to the last bit. Generation relies on this. It is also fast for few rows: packing the weight,
//! as a blocked product does, would cost more than the product. The limit is the memory bandwidth for the weight, so
//! the next part is prefetched while the previous one is multiplied.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Up to this many rows, [`few_rows_product`] is faster than a blocked product.
pub const FEW_ROWS: usize = 128;
/// Number of tasks of a product with enough outputs.
const TASKS: usize = 64;
/// Largest number of weight elements of a task, so that they stay in its cache for all rows.
const HELD: usize = 64 * 1024;
/// Rows and outputs that are summed together; with their operands they fill 32 vector registers.
const ROWS: usize = 8;
const OUTPUTS: usize = 3;
/// The number of outputs of a task is a multiple of this.
const BLOCK: usize = 8 * OUTPUTS;
/// Elements of the longest vector, and of a cache line.
const LINE: usize = 16;

/// `x Wᵀ` of `x` (`[rows, input]`) and `weight` (`[output, input]`), as `[rows, output]`.
#[must_use]
pub fn few_rows_product(x: &[f32], weight: &[f32], input: usize) -> Vec<f32> {
    let (rows, output) = (x.len() / input, weight.len() / input);
    let mut out = vec![0.0; rows * output];
    let interleaved = Interleaved::new(x, input);
    let width = (output / TASKS)
        .min(HELD / input)
        .next_multiple_of(BLOCK)
        .max(BLOCK);
    // For each block of outputs, its part of every row.
    let mut blocks: Vec<Vec<&mut [f32]>> = (0..output.div_ceil(width))
        .map(|_| Vec::with_capacity(rows))
        .collect();
    for row in out.chunks_mut(output) {
        for (block, part) in blocks.iter_mut().zip(row.chunks_mut(width)) {
            block.push(part);
        }
    }
    blocks
        .par_iter_mut()
        .zip(weight.par_chunks(width * input))
        // A thread that has finished can take over single tasks of another.
        .with_max_len(1)
        .for_each(|(out, weight)| {
            Arch::new().dispatch(Block {
                out,
                x: &interleaved,
                weight,
                input,
            });
        });
    out
}

/// [`ROWS`] rows interleaved: one vector of each row, then the next vector of each, and so on. The data starts at a
/// cache line and is padded with zeros, so that no vector crosses a cache line or is incomplete.
struct Interleaved {
    values: Vec<f32>,
    start: usize,
    end: usize,
    /// Length of a row with its padding.
    padded: usize,
}

impl Interleaved {
    fn new(x: &[f32], input: usize) -> Self {
        let padded = input.next_multiple_of(LINE);
        let length = x.len() / input * padded;
        let mut values = vec![0.0; length + LINE];
        let start = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let end = start + length;
        Arch::new().dispatch(Interleave {
            values: &mut values[start..end],
            padded,
            x,
            input,
        });
        Self {
            values,
            start,
            end,
            padded,
        }
    }

    /// Groups of [`ROWS`] rows; the last may have fewer.
    fn groups(&self) -> impl Iterator<Item = &[f32]> {
        self.values[self.start..self.end].chunks(ROWS * self.padded)
    }
}

struct Interleave<'a> {
    values: &'a mut [f32],
    padded: usize,
    x: &'a [f32],
    input: usize,
}

impl WithSimd for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let lanes = S::F32_LANES;
        let groups = self.values.chunks_mut(ROWS * self.padded);
        for (group, x) in groups.zip(self.x.chunks(ROWS * self.input)) {
            let rows = x.len() / self.input;
            for (row, x) in x.chunks(self.input).enumerate() {
                for (index, vector) in x.chunks(lanes).enumerate() {
                    let at = (index * rows + row) * lanes;
                    group[at..at + vector.len()].copy_from_slice(vector);
                }
            }
        }
    }
}

/// A block of outputs, for all rows.
struct Block<'a, 'b> {
    out: &'a mut [&'b mut [f32]],
    x: &'a Interleaved,
    weight: &'a [f32],
    input: usize,
}

impl WithSimd for Block<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            out,
            x,
            weight,
            input,
        } = self;
        for (group, (out, x)) in out.chunks_mut(ROWS).zip(x.groups()).enumerate() {
            // For all groups of rows but the first, the weight is in the cache already.
            let is_first = group == 0;
            for (index, weight) in weight.chunks(OUTPUTS * input).enumerate() {
                let at = index * OUTPUTS;
                if weight.len() == OUTPUTS * input {
                    tiles::<S, OUTPUTS>(simd, out, at, (x, weight), is_first);
                } else {
                    for (column, weight) in weight.chunks_exact(input).enumerate() {
                        tiles::<S, 1>(simd, out, at + column, (x, weight), is_first);
                    }
                }
            }
        }
    }
}

/// Computes the outputs `at..at + O` of up to [`ROWS`] rows.
#[inline(always)]
fn tiles<S: Simd, const O: usize>(
    simd: S,
    out: &mut [&mut [f32]],
    at: usize,
    operands: (&[f32], &[f32]),
    is_first: bool,
) {
    match out.len() {
        8 if is_first => tile::<S, 8, O, true>(simd, out, at, operands),
        8 => tile::<S, 8, O, false>(simd, out, at, operands),
        7 => tile::<S, 7, O, true>(simd, out, at, operands),
        6 => tile::<S, 6, O, true>(simd, out, at, operands),
        5 => tile::<S, 5, O, true>(simd, out, at, operands),
        4 => tile::<S, 4, O, true>(simd, out, at, operands),
        3 => tile::<S, 3, O, true>(simd, out, at, operands),
        2 => tile::<S, 2, O, true>(simd, out, at, operands),
        _ => tile::<S, 1, O, true>(simd, out, at, operands),
    }
}

/// Computes the outputs `at..at + O` of `R` rows; with `AHEAD`, prefetches the weight of the next outputs.
#[inline(always)]
fn tile<S: Simd, const R: usize, const O: usize, const AHEAD: bool>(
    simd: S,
    out: &mut [&mut [f32]],
    at: usize,
    (x, weight): (&[f32], &[f32]),
) {
    let input = weight.len() / O;
    let mut sums = [[simd.splat_f32s(0.0); O]; R];
    let (x, _) = S::as_simd_f32s(x);
    let (x, _) = x.as_chunks::<R>();
    let weights: [(&[S::f32s], &[f32]); O] =
        std::array::from_fn(|column| S::as_simd_f32s(&weight[column * input..(column + 1) * input]));
    let whole = input / S::F32_LANES;
    let vectors = weights.map(|weight| &weight.0[..whole]);
    for (index, x) in x[..whole].iter().enumerate() {
        if AHEAD {
            for weight in vectors {
                fetch((&raw const weight[index]).cast::<f32>().wrapping_add(O * input));
            }
        }
        let weight: [S::f32s; O] = std::array::from_fn(|column| vectors[column][index]);
        multiply_add(simd, &mut sums, x, weight);
    }
    if whole * S::F32_LANES < input {
        let weight = weights.map(|(_, tail)| simd.partial_load_f32s(tail));
        multiply_add(simd, &mut sums, &x[whole], weight);
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out[at..at + O].iter_mut().zip(sums) {
            *out = simd.reduce_sum_f32s(sum);
        }
    }
}

#[inline(always)]
fn multiply_add<S: Simd, const R: usize, const O: usize>(
    simd: S,
    sums: &mut [[S::f32s; O]; R],
    x: &[S::f32s; R],
    weight: [S::f32s; O],
) {
    for (sums, &x) in sums.iter_mut().zip(x) {
        for (sum, weight) in sums.iter_mut().zip(weight) {
            *sum = simd.mul_add_f32s(x, weight, *sum);
        }
    }
}

/// Prefetches a cache line; the address need not be valid.
#[inline(always)]
fn fetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint to the processor, which neither reads nor faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
