//! What the threads of a cube hold, taken together; for kernels of every crate.

#![allow(
    missing_docs,
    reason = "the macro makes a module without any for each function"
)]

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

/// The sum of a value of every thread; all threads get it.
///
/// `threads` is the number of threads of the cube, a power of two. Every thread must take part.
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
    // What comes next may use the same memory.
    sync_cube();
    sum
}

/// The largest value of all threads; all threads get it. A value that is no number is passed over, but for the first.
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

/// The larger one; the first where they are equal or one is not a number.
#[cube]
pub fn larger(a: f32, b: f32) -> f32 {
    let mut larger = a;
    if b > a {
        larger = b;
    }
    larger
}
