//! Matrices transposed in memory and rounded to bf16.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Side of the square that a cube of threads transposes.
const SIDE: usize = 32;
/// Rows of the square that the cube handles at a time.
const LINES: usize = 8;

/// The transpose of a matrix, contiguous and in bf16.
///
/// # Shapes
/// `x`: `[rows, columns]`, f32 or bf16; output: `[columns, rows]`
pub(super) fn transposed_factor(x: CubeTensor) -> CubeTensor {
    let x = into_contiguous(x);
    let [rows, columns] = x.shape().dims();
    let (client, device) = (x.client.clone(), x.device.clone());
    let output = empty_device_contiguous_dtype(client, device, Shape::new([columns, rows]), DType::BF16);
    transpose::launch(
        &x.client,
        CubeCount::Static(rows.div_ceil(SIDE) as u32, columns.div_ceil(SIDE) as u32, 1),
        CubeDim::new_2d(SIDE as u32, LINES as u32),
        x.clone().into_tensor_arg(),
        output.clone().into_tensor_arg(),
        [dtype_to_elem_type(x.dtype), dtype_to_elem_type(output.dtype)],
    );
    output
}

#[cube(launch)]
fn transpose<I: Float, O: Float>(
    x: &Tensor<I>,          // [rows, columns]
    output: &mut Tensor<O>, // [columns, rows]
    #[define(I, O)] _dtypes: [ElemType; 2],
) {
    let rows = x.shape(0);
    let columns = x.shape(1);
    // One column wider than the square, against bank conflicts between rows or columns.
    let mut square = Shared::<[f32]>::new_slice(comptime!(SIDE * (SIDE + 1)));
    let lane = UNIT_POS_X as usize;
    let first_row = CUBE_POS_X as usize * SIDE;
    let first_column = CUBE_POS_Y as usize * SIDE;
    #[unroll]
    for pass in 0..comptime!(SIDE / LINES) {
        let line = UNIT_POS_Y as usize + pass * LINES;
        if first_row + line < rows && first_column + lane < columns {
            let value = x[(first_row + line) * columns + first_column + lane];
            square[line * comptime!(SIDE + 1) + lane] = f32::cast_from(value);
        }
    }
    sync_cube();
    #[unroll]
    for pass in 0..comptime!(SIDE / LINES) {
        let line = UNIT_POS_Y as usize + pass * LINES;
        if first_column + line < columns && first_row + lane < rows {
            let value = square[lane * comptime!(SIDE + 1) + line];
            output[(first_column + line) * rows + first_row + lane] = O::cast_from(value);
        }
    }
}
