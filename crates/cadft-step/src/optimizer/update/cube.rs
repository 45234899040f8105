//! The update on CubeCL backends: one thread for each value, in place if nothing else holds the memory.

use super::Rates;
use super::kernels::UpdateKernels;
use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::{calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

impl UpdateKernels for CubeBackend {
    fn adamw(
        value: CubeTensor,
        grad: CubeTensor,
        factor: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        rates: Rates,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let grad = into_contiguous(grad);
        let [value, first, second] = [value, first, second].map(own);
        let values = grad.shape().num_elements();
        let dim = CubeDim::new(&grad.client, values);
        let Rates {
            betas,
            corrections,
            eps,
            lr,
            keep,
        } = rates;
        let numbers = NumbersLaunch::new(
            betas[0],
            betas[1],
            1.0 - betas[0],
            1.0 - betas[1],
            corrections[0],
            corrections[1],
            eps,
            lr,
            keep,
        );
        update::launch(
            &grad.client,
            calculate_cube_count_elemwise(&grad.client, values, dim),
            dim,
            value.clone().into_tensor_arg(),
            first.clone().into_tensor_arg(),
            second.clone().into_tensor_arg(),
            grad.clone().into_tensor_arg(),
            factor.into_tensor_arg(),
            numbers,
        );
        (value, first, second)
    }

    fn sum_of_squares(grad: CubeTensor) -> CubeTensor {
        cadft_kernels::sum_of_squares(grad)
    }
}

/// A contiguous tensor that may be overwritten.
fn own(x: CubeTensor) -> CubeTensor {
    let x = into_contiguous(x);
    if x.can_mut() {
        return x;
    }
    // CUDA's allocator may pad the rows of a copy for alignment.
    into_contiguous(x.copy())
}

/// [`Rates`], and `1 − β` of both moments.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Numbers {
    beta_1: f32,
    beta_2: f32,
    new_1: f32,
    new_2: f32,
    correction_1: f32,
    correction_2: f32,
    eps: f32,
    lr: f32,
    keep: f32,
}

#[cube(launch)]
fn update(
    value: &mut Tensor<f32>,
    first: &mut Tensor<f32>,
    second: &mut Tensor<f32>,
    grad: &Tensor<f32>,
    factor: &Tensor<f32>,
    numbers: Numbers,
) {
    let at = ABSOLUTE_POS;
    let factor = factor[0];
    if at >= value.len() || factor < 0.0 {
        terminate!();
    }
    let new = grad[at] * factor;
    let mean = first[at] * numbers.beta_1 + new * numbers.new_1;
    let square = second[at] * numbers.beta_2 + new * new * numbers.new_2;
    let scale = (square / numbers.correction_2).sqrt() + numbers.eps;
    first[at] = mean;
    second[at] = square;
    value[at] = value[at] * numbers.keep - mean / numbers.correction_1 / scale * numbers.lr;
}
