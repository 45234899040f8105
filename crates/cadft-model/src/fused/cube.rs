//! Kernels on the backends that CubeCL compiles: CUDA, ROCm, Metal, Vulkan, WebGPU.
//!
//! Each kernel is one launch instead of a chain of tensor operations, each of which would read and write everything.
//! The order of sums depends only on shapes.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cadft_kernels::{Precision, cube_matmul};

use super::kernels::{AttentionOutputs, AttentionSaved, DecoderKernels};
use super::{Activation, AttentionOptions};

mod attention;
mod elementwise;
mod heads;
mod rows;
mod scores;

/// Largest number of threads that share a row.
const THREADS: usize = 256;
/// Rows that one thread sums for the gradient of a norm's weight.
const ROWS: usize = 64;

impl DecoderKernels for CubeBackend {
    fn linear_forward(x: CubeTensor, weight: CubeTensor) -> CubeTensor {
        cube_matmul(x, Self::float_transpose(weight), DType::F32)
    }

    fn linear_input_gradient(grad: CubeTensor, weight: CubeTensor) -> CubeTensor {
        cube_matmul(grad, weight, DType::F32)
    }

    fn linear_weight_gradient(grad: CubeTensor, x: CubeTensor) -> CubeTensor {
        cube_matmul(Self::float_transpose(grad), x, DType::F32)
    }

    fn column_sums(x: CubeTensor) -> CubeTensor {
        cadft_kernels::column_sums(x)
    }

    fn scatter_rows(grad: CubeTensor, ids: CubeTensor, rows: usize) -> CubeTensor {
        let [grad, ids] = [grad, ids].map(into_contiguous);
        let [selected, columns] = grad.shape().dims();
        let output = Self::float_zeros(Shape::new([rows, columns]), &grad.device, DType::F32.into());
        let threads = threads(columns);
        rows::scatter::launch(
            &grad.client,
            one_cube_each(selected),
            CubeDim::new_1d(threads as u32),
            grad.clone().into_tensor_arg(),
            ids.clone().into_tensor_arg(),
            output.clone().into_tensor_arg(),
            threads,
            dtype_to_elem_type(ids.dtype),
        );
        output
    }

    fn rms_norm_forward(x: CubeTensor, weight: CubeTensor, epsilon: f64) -> (CubeTensor, CubeTensor) {
        let (x, weight) = (into_contiguous(x), into_contiguous(weight));
        let [hidden] = weight.shape().dims();
        let rows = x.shape().num_elements() / hidden;
        let (output, inverse) = (empty(&x, x.shape()), empty(&x, Shape::new([rows])));
        let threads = threads(hidden);
        rows::rms_norm::launch(
            &x.client,
            one_cube_each(rows),
            CubeDim::new_1d(threads as u32),
            x.clone().into_tensor_arg(),
            weight.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            inverse.clone().into_tensor_arg(),
            epsilon as f32,
            threads,
        );
        (output, inverse)
    }

    fn rms_norm_backward(
        x: CubeTensor,
        weight: CubeTensor,
        inverse: CubeTensor,
        grad: CubeTensor,
    ) -> (CubeTensor, CubeTensor) {
        let [x, weight, inverse, grad] = [x, weight, inverse, grad].map(into_contiguous);
        let [hidden] = weight.shape().dims();
        let rows = x.shape().num_elements() / hidden;
        let d_x = empty(&x, x.shape());
        let threads = threads(hidden);
        rows::rms_norm_input_gradient::launch(
            &x.client,
            one_cube_each(rows),
            CubeDim::new_1d(threads as u32),
            x.clone().into_tensor_arg(),
            weight.into_tensor_arg(),
            inverse.clone().into_tensor_arg(),
            grad.clone().into_tensor_arg(),
            d_x.clone().into_tensor_arg(),
            threads,
        );
        let parts = empty(&x, Shape::new([rows.div_ceil(ROWS), hidden]));
        let dim = CubeDim::new_1d(THREADS as u32);
        rows::rms_norm_weight_gradient::launch(
            &x.client,
            calculate_cube_count_elemwise(&x.client, parts.shape().num_elements(), dim),
            dim,
            x.clone().into_tensor_arg(),
            inverse.into_tensor_arg(),
            grad.into_tensor_arg(),
            parts.clone().into_tensor_arg(),
            ROWS,
        );
        (d_x, Self::column_sums(parts))
    }

    fn gated_forward(
        activation: Activation,
        gate: CubeTensor,
        up: CubeTensor,
        precision: Precision,
    ) -> CubeTensor {
        let [gate, up] = [gate, up].map(into_contiguous);
        let output = empty_factor(&gate, gate.shape(), precision);
        let (count, dim) = threads_of(&gate, elementwise::VALUES);
        elementwise::gated::launch(
            &gate.client,
            count,
            dim,
            gate.clone().into_tensor_arg(),
            up.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            activation,
            dtype_to_elem_type(output.dtype),
        );
        output
    }

    fn gated_backward(
        activation: Activation,
        gate: CubeTensor,
        up: CubeTensor,
        grad: CubeTensor,
        precision: Precision,
    ) -> (CubeTensor, CubeTensor) {
        let [gate, up, grad] = [gate, up, grad].map(into_contiguous);
        let [d_gate, d_up] = [(); 2].map(|()| empty_factor(&gate, gate.shape(), precision));
        let (count, dim) = threads_of(&gate, elementwise::VALUES);
        elementwise::gated_gradients::launch(
            &gate.client,
            count,
            dim,
            gate.clone().into_tensor_arg(),
            up.into_tensor_arg(),
            grad.into_tensor_arg(),
            d_gate.clone().into_tensor_arg(),
            d_up.clone().into_tensor_arg(),
            activation,
            dtype_to_elem_type(d_gate.dtype),
        );
        (d_gate, d_up)
    }

    fn attention_forward(
        query: CubeTensor,
        key: CubeTensor,
        value: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        options: AttentionOptions,
    ) -> AttentionOutputs<CubeTensor> {
        attention::forward([query, key, value], [cos, sin], &options)
    }

    fn attention_backward(
        saved: AttentionSaved<Self>,
        grad: CubeTensor,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        attention::backward(saved, grad)
    }
}

/// An uninitialised contiguous f32 tensor on the device of `like`.
fn empty(like: &CubeTensor, shape: Shape) -> CubeTensor {
    empty_factor(like, shape, Precision::F32)
}

/// Like [`empty`], in the dtype of a product's factor.
fn empty_factor(like: &CubeTensor, shape: Shape, precision: Precision) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape, precision.dtype())
}

/// Number of threads for a row of `columns` values; a power of two.
fn threads(columns: usize) -> usize {
    columns.next_power_of_two().clamp(32, THREADS)
}

/// One cube of threads per row; the grid may have a few more cubes.
fn one_cube_each(rows: usize) -> CubeCount {
    // A grid has at most 65535 cubes along a side.
    let side = rows.clamp(1, 1 << 15);
    CubeCount::Static(side as u32, rows.div_ceil(side) as u32, 1)
}

/// One thread per value; the grid may have a few more threads.
fn one_thread_each(x: &CubeTensor) -> (CubeCount, CubeDim) {
    threads_of(x, 1)
}

/// One thread per `values` values; the grid may have a few more threads.
fn threads_of(x: &CubeTensor, values: usize) -> (CubeCount, CubeDim) {
    let threads = x.shape().num_elements().div_ceil(values);
    let dim = CubeDim::new(&x.client, threads);
    (calculate_cube_count_elemwise(&x.client, threads, dim), dim)
}
