//! The products on the backends that CubeCL compiles, and the choice of CubeCL's kernels for them.
//!
//! Without the feature `autotune`, a table chooses the kernel (`table.rs`). Tuning tries about twenty kernels for every
//! new size, and CUDA's compiler takes up to six seconds for each. The table holds the fastest kernels on an H200 for
//! the products of a model of 1.5 billion parameters (`examples/kernels.rs`), in TFLOP/s for `x Wᵀ`, `g W` and `gᵀ x`:
//!
//! | kernel | bf16, 16384 × 8960 × 1536 | f32 in TF32, 16384 × 1536 × 2048 |
//! |---|---|---|
//! | `SpecializedTmaMma` in tiles of our own | 391, 328, 315 | |
//! | `SpecializedTmaMma` in tiles that CubeCL chooses | 300, 235, 206 | 87, 93 |
//! | `DoubleTmaMma` | 254 in the best tiles, for `x Wᵀ` | 99, 98, 82 |
//! | `SimpleCyclicMma` with several rows | | 60, 69, 80 |
//! | `Auto`, CubeCL's default | | 44, 48, 53 |
//!
//! In training `gᵀ x` was slower than when measured alone: 222 TFLOP/s. So both gradients transpose a factor while it
//! is rounded, or afterwards, and become products of the first kind. Together with the forward pass and the likelihood
//! they ran at 350 TFLOP/s.

pub mod reduce;
mod rows;
mod sums;
#[cfg(not(feature = "autotune"))]
mod table;
mod transpose;

pub use rows::add_rows;
pub use sums::{column_sums, sum_of_squares};

use super::cast::cast;
use super::kernels::MatmulKernels;
use super::tf32::{Tf32, tf32};
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::features::Tma;
use burn_cubecl::kernel::matmul::utils::init_matmul_output;
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::multi_level::Strategy as MultiLevel;
use cubek::matmul::strategy::Strategy;
use cubek::std::InputBinding;
use transpose::transposed_factor;

impl MatmulKernels for CubeBackend {
    fn full_product(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
        without_tensor_cores(lhs, rhs, DType::F32)
    }

    fn wide_product(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
        cube_matmul(lhs, rhs, DType::F32)
    }

    fn bf16_input_gradient(grad: CubeTensor, weight: CubeTensor) -> CubeTensor {
        cube_input_gradient(grad, weight)
    }

    fn bf16_weight_gradient(grad: CubeTensor, x: CubeTensor) -> CubeTensor {
        cube_weight_gradient(grad, x)
    }
}

/// `g W` in f32. Factors are multiplied in the dtype of `g`.
///
/// # Shapes
/// - `grad`: `[rows, output]`
/// - `weight`: `[output, input]`, f32 or the dtype of `grad`
/// - output: `[rows, input]`
#[must_use]
pub fn cube_input_gradient(grad: CubeTensor, weight: CubeTensor) -> CubeTensor {
    let weight = if transposes_factors(&grad) {
        CubeBackend::float_transpose(transposed_factor(weight))
    } else {
        cast::<CubeBackend>(weight, grad.dtype)
    };
    cube_matmul(grad, weight, DType::F32)
}

/// `gᵀ x` in f32; both factors have the same dtype.
///
/// # Shapes
/// - `grad`: `[rows, output]`
/// - `x`: `[rows, input]`
/// - output: `[output, input]`
#[must_use]
pub fn cube_weight_gradient(grad: CubeTensor, x: CubeTensor) -> CubeTensor {
    if transposes_factors(&grad) {
        return cube_matmul(
            transposed_factor(grad),
            CubeBackend::float_transpose(transposed_factor(x)),
            DType::F32,
        );
    }
    cube_matmul(CubeBackend::float_transpose(grad), x, DType::F32)
}

/// Whether factors are first transposed, so that the summed dimension is contiguous, as the fastest kernel of the table
/// needs. That kernel gains more than the transposition costs. Autotuned kernels take factors as they are.
fn transposes_factors(factor: &CubeTensor) -> bool {
    cfg!(not(feature = "autotune"))
        && factor.dtype == DType::BF16
        && factor.client.properties().features.tma.contains(Tma::Base)
}

/// `lhs · rhs` by the process-wide setting [`tf32()`], accumulated in f32 and stored as `dtype`.
///
/// # Panics
/// If the shapes disagree.
#[must_use]
pub fn cube_matmul(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    if tf32() == Tf32::Refused && lhs.dtype == DType::F32 && rhs.dtype == DType::F32 {
        return without_tensor_cores(lhs, rhs, dtype);
    }
    chosen(lhs, rhs, dtype)
}

#[cfg(feature = "autotune")]
fn chosen(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
    matmul(lhs, rhs, None, MatmulStrategy::Autotune, dtype)
        .expect("matrices of agreeing shapes can be multiplied")
}

#[cfg(not(feature = "autotune"))]
fn chosen(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    for kernel in table::kernels(&lhs, &rhs) {
        if let Ok(output) = launch(&kernel.into(), lhs.clone(), rhs.clone(), dtype) {
            return output;
        }
    }
    launch(&Strategy::Auto, lhs, rhs, dtype).expect("matrices of agreeing shapes can be multiplied")
}

/// Multiplies with CubeCL's kernel for devices without tensor cores, which keeps the format of its factors.
fn without_tensor_cores(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    launch(
        &MultiLevel::SimpleUnit(Default::default()).into(),
        lhs,
        rhs,
        dtype,
    )
    .expect("a kernel without tensor cores runs on every device")
}

/// Launches a kernel; fails if the device lacks a feature that the kernel needs.
fn launch(
    kernel: &Strategy,
    lhs: CubeTensor,
    rhs: CubeTensor,
    dtype: DType,
) -> Result<CubeTensor, MatmulSetupError> {
    let output = init_matmul_output(&lhs, &rhs, dtype);
    let [of_lhs, of_rhs, of_output] = [lhs.dtype, rhs.dtype, dtype].map(dtype_to_elem_type);
    let mut formats = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: of_lhs,
        rhs: of_rhs,
        out: of_output,
    });
    let client = output.client.clone();
    launch_ref(
        kernel,
        &client,
        InputBinding::new(lhs.binding(), of_lhs),
        InputBinding::new(rhs.binding(), of_rhs),
        output.clone().binding(),
        &mut formats,
    )?;
    Ok(output)
}
