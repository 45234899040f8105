//! Reductions over the threads of a cube, for the kernels of every crate.

#![allow(
    missing_docs,
    reason = "the macro makes a module without any for each function"
)]

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

/// The sum of one value from each thread; every thread gets the result.
///
/// `threads` is the number of threads of the cube, a power of two. All threads must call it.
#[cube]
pub fn sum_of_cube(value: f32, #[comptime] threads: usize) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(threads);
    let thread = UNIT_POS as usize;
    shared[thread] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if thread < half {
            let other = shared[thread + half];
            shared[thread] += other;
        }
        sync_cube();
        half /= 2;
    }
    let sum = shared[0];
    // The next call may use the same memory.
    sync_cube();
    sum
}

/// The largest of one value from each thread; every thread gets the result.
///
/// If a value is NaN, the result is NaN or the largest of some of the other values.
///
/// `threads` is as for [`sum_of_cube`].
#[cube]
pub fn max_of_cube(value: f32, #[comptime] threads: usize) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(threads);
    let thread = UNIT_POS as usize;
    shared[thread] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if thread < half {
            shared[thread] = larger(shared[thread], shared[thread + half]);
        }
        sync_cube();
        half /= 2;
    }
    let largest = shared[0];
    sync_cube();
    largest
}

/// The larger value; the first if they are equal or one is NaN.
#[cube]
pub fn larger(a: f32, b: f32) -> f32 {
    let mut larger = a;
    if b > a {
        larger = b;
    }
    larger
}
