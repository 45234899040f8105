//! Internal to cadft: code that its kernels share. Nothing here is promised to users, and any version may change it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cpu`] | building blocks of CPU kernels, on slices |
//! | `flex` | between tensors of Flex and slices |
//! | [`matmul`] and others | products of tensors in f32, TF32, or of factors rounded to bf16, as an extension of Burn's backends |
//! | [`dynamic`] | maps of 8 bits, for the scales of packed weights and for moments |
//! | [`Packed`] | frozen weights in bf16, 8 or 4 bits, and their products |
//! | [`logits`] | how logits are computed: number format and soft-cap |
//! | [`has_kernels`] | which backends have our kernels |
//!
//! The feature `cube` adds shared parts of kernels on CubeCL's backends: `reduce`, `add_rows`, sums.

mod backends;
pub mod cpu;
pub mod dynamic;
#[cfg(feature = "flex")]
pub mod flex;
pub mod logits;
mod packed;
mod products;

pub use backends::{backend_has_kernels, has_kernels};
pub use logits::LogitOptions;
pub use packed::{Packed, PackedFormat};
pub use products::{
    MatmulKernels, Precision, Tf32, backend_matmul, bf16_linear, cast, full_matmul, matmul, set_tf32, tf32,
};
#[cfg(feature = "cube")]
pub use products::{
    add_rows, column_sums, cube_input_gradient, cube_matmul, cube_weight_gradient, reduce, sum_of_squares,
};
