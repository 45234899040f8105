//! Accumulation of a result that is computed part by part.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::{calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

/// Adds a part to the rows of `whole` from `first` on, in place. No other tensor may share the memory of `whole`.
///
/// If computing or adding a part failed (out of memory, for example), `whole` stays failed whatever is added later: the
/// kernel reads what it writes, and `CubeCL` passes a failure on to every reader. Assigning the parts one after the
/// other would lose the failure and leave rows unwritten.
///
/// # Shapes
/// - `whole`: `[matrices, rows, columns]`
/// - `part`: `[matrices, fewer rows, columns]`, of the same dtype
///
/// # Panics
/// If the part does not fit into `whole` at `first`.
#[must_use]
pub fn add_rows(whole: CubeTensor, part: CubeTensor, first: usize) -> CubeTensor {
    let part = into_contiguous(part);
    let [matrices, rows, columns] = whole.shape().dims();
    let [part_matrices, part_rows, part_columns] = part.shape().dims();
    assert!(
        part_matrices == matrices && part_columns == columns && first + part_rows <= rows,
        "a part of {part_matrices} x {part_rows} x {part_columns} does not fit at row {first} of {rows}"
    );
    let values = part.shape().num_elements();
    let dim = CubeDim::new(&part.client, values);
    add::launch(
        &part.client,
        calculate_cube_count_elemwise(&part.client, values, dim),
        dim,
        whole.clone().into_tensor_arg(),
        part.clone().into_tensor_arg(),
        first as u32,
        dtype_to_elem_type(part.dtype),
    );
    whole
}

#[cube(launch)]
fn add<F: Float>(whole: &mut Tensor<F>, part: &Tensor<F>, first: u32, #[define(F)] _dtype: ElemType) {
    if ABSOLUTE_POS >= part.len() {
        terminate!();
    }
    let columns = part.shape(2);
    let in_matrix = part.shape(1) * columns;
    let matrix = ABSOLUTE_POS / in_matrix;
    let row = first as usize + ABSOLUTE_POS % in_matrix / columns;
    // Rows may have padding between them: CUDA's allocator aligns them.
    let at = matrix * whole.stride(0) + row * whole.stride(1) + ABSOLUTE_POS % columns * whole.stride(2);
    let sum = whole[at] + part[ABSOLUTE_POS];
    whole[at] = sum;
}
