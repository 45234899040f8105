//! `x Wᵀ` for few rows, reading the weight once as it lies.
//!
//! Every output is one dot product, summed in the same order whatever the other rows are: a row's result does not
//! depend on the batch it is in, to the last bit. Generation rests on that. It also is what few rows need: packing the
//! weight, as a blocked product does, would cost more than the product.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Tasks that a product is cut into, where it has enough outputs.
const TASKS: usize = 64;
/// The fewest outputs that one task computes.
const BLOCK: usize = 16;
/// Rows and outputs that are summed at the same time; with their operands, they fill 32 vector registers.
const TILE: usize = 4;

/// `x Wᵀ` of `x` (`[rows, input]`) and `weight` (`[output, input]`), as `[rows, output]`.
pub(super) fn product(x: &[f32], weight: &[f32], input: usize) -> Vec<f32> {
    let (rows, output) = (x.len() / input, weight.len() / input);
    let mut out = vec![0.0; rows * output];
    let width = (output / TASKS).next_multiple_of(BLOCK).max(BLOCK);
    // The part of every row that belongs to a block of outputs.
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
        .for_each(|(out, weight)| {
            Arch::new().dispatch(Block {
                out,
                x,
                weight,
                input,
            });
        });
    out
}

/// Some outputs of all rows.
struct Block<'a, 'b> {
    out: &'a mut [&'b mut [f32]],
    x: &'a [f32],
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
        for (index, weight) in weight.chunks(TILE * input).enumerate() {
            let at = index * TILE;
            let rows = out.chunks_mut(TILE).zip(x.chunks(TILE * input));
            if weight.len() == TILE * input {
                rows.for_each(|(out, x)| tiles::<S, TILE>(simd, out, at, (x, weight), input));
            } else {
                for (out, x) in rows {
                    for (column, weight) in weight.chunks_exact(input).enumerate() {
                        tiles::<S, 1>(simd, out, at + column, (x, weight), input);
                    }
                }
            }
        }
    }
}

/// The outputs `at..at + O` of up to [`TILE`] rows.
#[inline(always)]
fn tiles<S: Simd, const O: usize>(
    simd: S,
    out: &mut [&mut [f32]],
    at: usize,
    (x, weight): (&[f32], &[f32]),
    input: usize,
) {
    match out.len() {
        4 => tile::<S, 4, O>(simd, out, at, (x, weight), input),
        3 => tile::<S, 3, O>(simd, out, at, (x, weight), input),
        2 => tile::<S, 2, O>(simd, out, at, (x, weight), input),
        _ => tile::<S, 1, O>(simd, out, at, (x, weight), input),
    }
}

#[inline(always)]
fn tile<S: Simd, const R: usize, const O: usize>(
    simd: S,
    out: &mut [&mut [f32]],
    at: usize,
    (x, weight): (&[f32], &[f32]),
    input: usize,
) {
    let lanes = S::F32_LANES;
    let whole = input / lanes;
    let mut sums = [[simd.splat_f32s(0.0); O]; R];
    let xs: [(&[S::f32s], &[f32]); R] =
        std::array::from_fn(|row| S::as_simd_f32s(&x[row * input..(row + 1) * input]));
    let ws: [(&[S::f32s], &[f32]); O] =
        std::array::from_fn(|row| S::as_simd_f32s(&weight[row * input..(row + 1) * input]));
    let (x_whole, w_whole) = (xs.map(|x| &x.0[..whole]), ws.map(|w| &w.0[..whole]));
    for i in 0..whole {
        let w: [S::f32s; O] = std::array::from_fn(|column| w_whole[column][i]);
        for row in 0..R {
            let x = x_whole[row][i];
            for column in 0..O {
                sums[row][column] = simd.mul_add_f32s(x, w[column], sums[row][column]);
            }
        }
    }
    if whole * lanes < input {
        let w: [S::f32s; O] = std::array::from_fn(|column| simd.partial_load_f32s(ws[column].1));
        for row in 0..R {
            let x = simd.partial_load_f32s(xs[row].1);
            for column in 0..O {
                sums[row][column] = simd.mul_add_f32s(x, w[column], sums[row][column]);
            }
        }
    }
    for row in 0..R {
        for column in 0..O {
            out[row][at + column] = simd.reduce_sum_f32s(sums[row][column]);
        }
    }
}
