//! The products on the backends that CubeCL compiles, and which of its kernels computes them.
//!
//! Without the feature `autotune` the kernel is chosen by a table. Tuning tries some twenty kernels for every new size, and
//! CUDA's compiler takes up to six seconds for each. The table is what was fastest on an H200 for the products of a model of
//! 1.5 billion parameters (`examples/kernels.rs`), in TFLOP/s for `x Wᵀ`, `g W` and `gᵀ x`:
//!
//! | kernel | bf16, 16384 × 1536 × 8960 | f32 in TF32, 16384 × 1536 × 2048 |
//! |---|---|---|
//! | `SpecializedTmaMma` | 272, 235, 207 | 87, 93 |
//! | `DoubleTmaMma` | 164, 231, 170 | 99, 98, 82 |
//! | `SimpleCyclicMma` with several rows | 119, 131, 130 | 60, 69, 80 |
//! | `Auto`, what CubeCL takes by itself | 111, 94, 89 | 44, 48, 53 |

pub mod reduce;
mod rows;

pub use rows::add_rows;

use crate::operation::MatmulKernels;
use crate::{Tf32, tf32};
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::matmul::utils::init_matmul_output;
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::multi_level::Strategy as MultiLevel;
use cubek::matmul::strategy::Strategy;
use cubek::std::InputBinding;

impl MatmulKernels for CubeBackend {
    fn full_matmul(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
        without_tensor_cores(lhs, rhs, DType::F32)
    }

    fn wide_matmul(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
        cube_matmul(lhs, rhs, DType::F32)
    }
}

/// `lhs · rhs` by the setting of the process, accumulated in f32 and stored as `dtype`.
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

/// The kernel that CubeCL takes where a device has no tensor cores: it never leaves the format of its factors.
fn without_tensor_cores(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    launch(
        &MultiLevel::SimpleUnit(Default::default()).into(),
        lhs,
        rhs,
        dtype,
    )
    .expect("a kernel without tensor cores runs on every device")
}

/// Launches a kernel; fails where the device does not have what it needs.
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

#[cfg(not(feature = "autotune"))]
mod table {
    use super::{CubeTensor, DType, MultiLevel};
    use burn_cubecl::tensor::CubeTensor as Tensor;
    use cubek::matmul::multi_level::components::tile::TileMatmulKind::Mma;
    use cubek::matmul::multi_level::routines::batch::double_buffering::DoubleBufferingArgs;
    use cubek::matmul::multi_level::routines::batch::simple::SimpleArgs;
    use cubek::matmul::routine::BlueprintStrategy::Inferred;

    /// Matrices with a smaller side are left to CubeCL's choice.
    const SMALL: usize = 64;
    /// What the copy engine of NVIDIA's GPUs (TMA) needs rows to begin on, in bytes.
    const ALIGNED: usize = 16;

    /// The kernels to try, the fastest first; each may need what a device does not have.
    pub(super) fn kernels(lhs: &CubeTensor, rhs: &CubeTensor) -> Vec<MultiLevel> {
        let both = [lhs, rhs];
        if !both.into_iter().all(is_large) {
            return vec![];
        }
        let mut kernels = vec![];
        if both.into_iter().all(is_aligned) {
            kernels.push(match lhs.dtype {
                DType::BF16 => MultiLevel::SpecializedTmaMma(Inferred(().into())),
                _ => MultiLevel::DoubleTmaMma(Inferred(DoubleBufferingArgs {
                    specialized: false,
                    tile_matmul: Mma,
                })),
            });
        }
        kernels.push(MultiLevel::SimpleCyclicMma(Inferred(SimpleArgs {
            multi_rows: true,
            tile_matmul: Mma,
        })));
        kernels
    }

    fn is_large(x: &Tensor) -> bool {
        let shape = x.meta.shape();
        shape.iter().rev().take(2).all(|&side| side >= SMALL)
    }

    /// Whether every row and matrix begins on a multiple of [`ALIGNED`] bytes.
    fn is_aligned(x: &Tensor) -> bool {
        let bytes = x.dtype.size();
        let strides = x.meta.shape().iter().zip(x.meta.strides().iter());
        let mut steps = strides.filter(|(side, stride)| **side > 1 && **stride != 1);
        steps.all(|(_, stride)| (stride * bytes).is_multiple_of(ALIGNED))
    }
}
