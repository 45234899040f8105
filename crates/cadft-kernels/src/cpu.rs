//! Building blocks of hand-written CPU kernels: matrix products, vectorised loops, a fast exponential. They work on
//! slices, not on tensors.
//!
//! ```
//! use cadft_kernels::cpu::{Threads, View, Write, gemm};
//!
//! let weight = View::new(&[1.0, 2.0, 3.0, 4.0], 2, 2); // [output, input]
//! let x = View::new(&[1.0, 10.0], 1, 2); // [rows, input]
//! let mut y = [0.0; 2];
//! gemm(&mut y, x, weight.transpose(), Write::Set, Threads::One);
//! assert_eq!(y, [21.0, 43.0]);
//! ```

mod matrix;
mod rows;
mod simd;

pub use matrix::{Threads, View, Write, gemm, product};
pub use rows::{FEW_ROWS, few_rows_product};
pub use simd::{LANES, bf16_bits, fast_exp, round_to_bf16, vectorised};
