//! Speed of CubeCL's kernels on the matrix products of a decoder; those that `src/products/cube/table.rs` names come
//! first.
//!
//! ```text
//! cargo run --release -p cadft-kernels --example kernels --features cuda
//! ```
//!
//! Prints a line for each kernel and product: milliseconds, TFLOP/s, seconds of the first launch (with compilation),
//! and the mean of the output divided by `Σ_k ½ · ½`. That ratio is 1 for factors drawn uniformly from 0 to 1.

use burn::backend::ops::FloatTensorOps;
use burn::backend::{Backend, Distribution, cubecl::dtype_to_elem_type};
use burn::tensor::{DType, FloatDType};
use burn_cubecl::kernel::matmul::utils::init_matmul_output;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};
use cadft_kernels::cube_matmul;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::multi_level::Strategy;
use cubek::matmul::multi_level::components::tile::TileMatmulKind::Mma;
use cubek::matmul::multi_level::routines::batch::double_buffering::DoubleBufferingArgs;
use cubek::matmul::multi_level::routines::batch::simple::SimpleArgs;
use cubek::matmul::routine::BlueprintStrategy::Inferred;
use cubek::std::InputBinding;
use std::time::Instant;

const LAUNCHES: u32 = 10;

/// Dtype, number of matrices, `[rows, inner, columns]`: linear layers, a tile of the likelihood, attention scores.
const PRODUCTS: [(DType, usize, [usize; 3]); 5] = [
    (DType::BF16, 1, [16384, 1536, 8960]),
    (DType::BF16, 1, [16384, 8960, 1536]),
    (DType::BF16, 16, [1536, 128, 1024]),
    (DType::F32, 1, [16384, 1536, 2048]),
    (DType::F32, 16, [1536, 128, 2048]),
];

/// Which factors are transposed.
const LAYOUTS: [(&str, bool, bool); 3] = [
    ("x Wᵀ", false, true),
    ("g W", false, false),
    ("gᵀ x", true, false),
];

fn main() {
    let device = CubeDevice::Cuda(Default::default());
    let simple = SimpleArgs {
        multi_rows: true,
        tile_matmul: Mma,
    };
    let double = DoubleBufferingArgs {
        specialized: false,
        tile_matmul: Mma,
    };
    let kernels = [
        None,
        Some(Strategy::SimpleCyclicCmma(Default::default())),
        Some(Strategy::SimpleCyclicMma(Inferred(simple))),
        Some(Strategy::DoubleCyclicMma(Inferred(double.clone()))),
        Some(Strategy::DoubleTmaMma(Inferred(double))),
        Some(Strategy::SpecializedTmaMma(Inferred(().into()))),
    ];
    for kernel in &kernels {
        let kernel_name = (kernel.as_ref()).map_or("table".to_owned(), ToString::to_string);
        for (dtype, matrices, [rows, inner, columns]) in PRODUCTS {
            for (name, lhs_transposed, rhs_transposed) in LAYOUTS {
                let factor = |rows: usize, columns: usize, is_transposed: bool| {
                    if is_transposed {
                        CubeBackend::float_transpose(drawn([matrices, columns, rows], dtype, &device))
                    } else {
                        drawn([matrices, rows, columns], dtype, &device)
                    }
                };
                let lhs = factor(rows, inner, lhs_transposed);
                let rhs = factor(inner, columns, rhs_transposed);
                let found = measure(kernel.as_ref(), &lhs, &rhs, &device);
                println!(
                    "{kernel_name} {dtype:?} {matrices} x {rows} x {inner} x {columns}, {name}: {found}"
                );
            }
        }
    }
}

fn drawn(shape: [usize; 3], dtype: DType, device: &CubeDevice) -> CubeTensor {
    let dtype = FloatDType::from(dtype);
    CubeBackend::float_random(shape.into(), Distribution::Default, device, dtype)
}

fn measure(kernel: Option<&Strategy>, lhs: &CubeTensor, rhs: &CubeTensor, device: &CubeDevice) -> String {
    let started = Instant::now();
    let output = match launched(kernel, lhs.clone(), rhs.clone()) {
        Ok(output) => output,
        Err(error) => return format!("refused: {error}"),
    };
    if let Err(error) = CubeBackend::sync(device) {
        return format!("failed: {error}");
    }
    let first_secs = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for _ in 0..LAUNCHES {
        let _ = launched(kernel, lhs.clone(), rhs.clone());
    }
    if let Err(error) = CubeBackend::sync(device) {
        return format!("failed: {error}");
    }
    let secs = started.elapsed().as_secs_f64() / f64::from(LAUNCHES);
    let [matrices, rows, columns] = output.meta.shape().dims();
    let inner = lhs.meta.shape()[2];
    let operations = 2.0 * (matrices * rows * inner * columns) as f64;
    let mean = CubeBackend::float_into_data(CubeBackend::float_mean(output));
    let mean = burn::tensor::read_sync(mean).map(|data| data.iter::<f32>().next().unwrap_or(f32::NAN));
    format!(
        "{:.3} ms, {:.1} TFLOP/s, first {first_secs:.2} s, mean {:.5}",
        secs * 1e3,
        operations / secs / 1e12,
        mean.unwrap_or(f32::NAN) / (0.25 * inner as f32)
    )
}

/// Multiplies with `kernel`, or with the table's choice if it is `None`.
fn launched(kernel: Option<&Strategy>, lhs: CubeTensor, rhs: CubeTensor) -> Result<CubeTensor, String> {
    let Some(kernel) = kernel else {
        return Ok(cube_matmul(lhs, rhs, DType::F32));
    };
    let output = init_matmul_output(&lhs, &rhs, DType::F32);
    let [of_lhs, of_rhs, of_output] = [lhs.dtype, rhs.dtype, DType::F32].map(dtype_to_elem_type);
    let mut formats = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: of_lhs,
        rhs: of_rhs,
        out: of_output,
    });
    let client = output.client.clone();
    let inputs = [
        InputBinding::new(lhs.binding(), of_lhs),
        InputBinding::new(rhs.binding(), of_rhs),
    ];
    let [lhs, rhs] = inputs;
    launch_ref(
        &kernel.clone().into(),
        &client,
        lhs,
        rhs,
        output.clone().binding(),
        &mut formats,
    )
    .map_err(|error| error.to_string())?;
    Ok(output)
}
