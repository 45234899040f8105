//! The product on the backends that CubeCL compiles, by a kernel in which every thread multiplies for itself.

use crate::operation::MatmulKernels;
use crate::{Tf32, tf32};
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::matmul::utils::init_matmul_output;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::multi_level::Strategy;
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
    matmul(lhs, rhs, None, MatmulStrategy::default(), dtype)
        .expect("matrices of agreeing shapes can be multiplied")
}

/// The kernel that CubeCL takes where a device has no tensor cores: it never leaves the format of its factors.
fn without_tensor_cores(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    let output = init_matmul_output(&lhs, &rhs, dtype);
    let [of_lhs, of_rhs, of_output] = [lhs.dtype, rhs.dtype, dtype].map(dtype_to_elem_type);
    let mut formats = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: of_lhs,
        rhs: of_rhs,
        out: of_output,
    });
    let client = output.client.clone();
    launch_ref(
        &Strategy::SimpleUnit(Default::default()).into(),
        &client,
        InputBinding::new(lhs.binding(), of_lhs),
        InputBinding::new(rhs.binding(), of_rhs),
        output.clone().binding(),
        &mut formats,
    )
    .expect("a kernel without tensor cores runs on every device");
    output
}
