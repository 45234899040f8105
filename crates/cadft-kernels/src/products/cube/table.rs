//! The choice of kernel and tile size for a product without autotuning.

use super::MultiLevel;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::cubecl::std::tensor::{MatrixBatchLayout, matrix_batch_layout};
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::definition::{MatmulGlobalElems, MatmulProblem};
use cubek::matmul::multi_level::components::global::{InputLoadFlow, LoadFlows};
use cubek::matmul::multi_level::components::stage::PartitionBuffering;
use cubek::matmul::multi_level::components::tile::TileMatmulKind::Mma;
use cubek::matmul::multi_level::definition::{BatchMatmulBlueprint, TilingScheme};
use cubek::matmul::multi_level::routines::batch::double_buffering::DoubleBufferingArgs;
use cubek::matmul::multi_level::routines::batch::simple::SimpleArgs;
use cubek::matmul::multi_level::stage::{SwizzleMode, SwizzleModes};
use cubek::matmul::routine::BlueprintStrategy::{Forced, Inferred};
use cubek::std::MatrixLayout::{self, ColMajor, RowMajor};
use cubek::std::cube_count::{CubeCountStrategy, GlobalOrder, HypercubeBlueprint, SmAllocation};

/// A matrix with a smaller side is left to `CubeCL`'s choice.
const SMALL: usize = 64;
/// With fewer tiles, some multiprocessors would idle.
const FEW: usize = 90;
/// Alignment of rows for the copy engine of NVIDIA's GPUs (TMA), in bytes.
const ALIGNED: usize = 16;
/// Threads of a warp, on devices with TMA.
const WARP: u32 = 32;
/// The instruction of the tensor cores: rows, columns, and length of the summed dimension.
const INSTRUCTION: (u32, u32, u32) = (16, 8, 16);

/// The kernels to try, the fastest first. Each may need a feature that the device lacks.
pub(super) fn kernels(lhs: &CubeTensor, rhs: &CubeTensor) -> Vec<MultiLevel> {
    let both = [lhs, rhs];
    if !both.into_iter().all(is_large) {
        return vec![];
    }
    let mut kernels = vec![];
    if both.into_iter().all(is_aligned) {
        match lhs.dtype {
            DType::BF16 => {
                let found =
                    blueprint(lhs, rhs).map(|blueprint| MultiLevel::SpecializedTmaMma(Forced(blueprint)));
                kernels.extend(found);
                kernels.push(MultiLevel::SpecializedTmaMma(Inferred(().into())));
            }
            _ => kernels.push(MultiLevel::DoubleTmaMma(Inferred(DoubleBufferingArgs {
                specialized: false,
                tile_matmul: Mma,
            }))),
        }
    }
    kernels.push(MultiLevel::SimpleCyclicMma(Inferred(SimpleArgs {
        multi_rows: true,
        tile_matmul: Mma,
    })));
    kernels
}

fn is_large(x: &CubeTensor) -> bool {
    let shape = x.meta.shape();
    shape.iter().rev().take(2).all(|&side| side >= SMALL)
}

/// Whether every row and every matrix begins at a multiple of [`ALIGNED`] bytes.
fn is_aligned(x: &CubeTensor) -> bool {
    let bytes = x.dtype.size();
    let strides = x.meta.shape().iter().zip(x.meta.strides().iter());
    let mut steps = strides.filter(|(side, stride)| **side > 1 && **stride != 1);
    steps.all(|(_, stride)| (stride * bytes).is_multiple_of(ALIGNED))
}

/// How a product is tiled: instructions in the tile of a warp, and warps of a cube, each in rows and columns.
#[derive(Clone, Copy)]
struct Cut {
    of_warp: (u32, u32),
    warps: (u32, u32),
}

impl Cut {
    /// Rows and columns of a cube's tile.
    fn tile(self) -> [usize; 2] {
        let (rows, columns, _) = INSTRUCTION;
        [
            (rows * self.of_warp.0 * self.warps.0) as usize,
            (columns * self.of_warp.1 * self.warps.1) as usize,
        ]
    }
}

/// 192 × 128: the largest tile that fits in the registers of a cube.
const LARGE: Cut = Cut {
    of_warp: (6, 4),
    warps: (2, 4),
};
/// 128 × 64: the side along the columns has the largest length that TMA can swizzle.
const NARROW: Cut = Cut {
    of_warp: (2, 8),
    warps: (4, 1),
};
/// 64 × 64: the same for rows and columns; also used if there are few tiles.
const SQUARE: Cut = Cut {
    of_warp: (4, 4),
    warps: (1, 2),
};
/// Instructions along the summed dimension: 64 values, 128 bytes, the largest length that TMA can swizzle.
const ALONG: u32 = 4;

/// How to compute a product with bf16 factors, copied by TMA and swizzled against bank conflicts in shared memory;
/// `None` if the factors would have to be copied first.
fn blueprint(lhs: &CubeTensor, rhs: &CubeTensor) -> Option<BatchMatmulBlueprint> {
    let (of_lhs, of_rhs) = (layout(lhs)?, layout(rhs)?);
    let [rows, inner] = last_two(lhs);
    let [_, columns] = last_two(rhs);
    let cut = match (of_lhs, of_rhs) {
        (RowMajor, ColMajor) if tiles_of(LARGE, lhs, rhs) < FEW => SQUARE,
        (RowMajor, ColMajor) => LARGE,
        (RowMajor, RowMajor) => NARROW,
        (ColMajor, RowMajor) => SQUARE,
        (ColMajor, ColMajor) => return None,
    };
    let elem = dtype_to_elem_type(lhs.dtype);
    let problem = MatmulProblem::from_parameters(
        rows,
        columns,
        inner,
        [1].into(),
        [1].into(),
        of_lhs,
        of_rhs,
        RowMajor,
        None,
        None,
        MatmulGlobalElems {
            lhs: elem,
            rhs: elem,
            out: dtype_to_elem_type(DType::F32),
        },
        Default::default(),
    );
    let ((warp_rows, warp_columns), (down, across)) = (cut.of_warp, cut.warps);
    let tiling = TilingScheme::builder()
        .with_tile_size(INSTRUCTION.into())
        .with_partition_size((warp_rows, warp_columns, ALONG).into())
        .with_stage_size((down, across, 1).into())
        .build()
        .ok()?;
    let cubes = match lhs.client.properties().hardware.num_streaming_multiprocessors {
        Some(num_sms) => CubeCountStrategy::Sm {
            num_sms,
            sm_usage: SmAllocation::Exact,
            cubes_first: true,
        },
        None => CubeCountStrategy::Flattened,
    };
    let swizzle = |elements: u32| match elements {
        64 => SwizzleMode::B128,
        _ => SwizzleMode::None,
    };
    let along = tiling.elements_per_stage_along_k();
    let swizzle = SwizzleModes {
        lhs: swizzle(match problem.lhs_layout {
            RowMajor => along,
            ColMajor => tiling.elements_per_stage_along_m(),
        }),
        rhs: swizzle(match problem.rhs_layout {
            RowMajor => tiling.elements_per_stage_along_n(),
            ColMajor => along,
        }),
        ..Default::default()
    };
    let blueprint = BatchMatmulBlueprint::builder(Mma, tiling, WARP, &problem)
        .partition_buffering(PartitionBuffering::Single)
        .stage_buffering(2)
        .hypercube_blueprint(
            HypercubeBlueprint::builder()
                .global_order(GlobalOrder::SwizzleRow(8))
                .cube_count_strategy(cubes)
                .build(),
        )
        .shared_swizzle(swizzle)
        .load_specialization_config(LoadFlows {
            lhs: InputLoadFlow::LoadOnly,
            rhs: InputLoadFlow::LoadOnly,
        });
    Some(blueprint.build())
}

/// Number of tiles over all matrices of a product.
fn tiles_of(cut: Cut, lhs: &CubeTensor, rhs: &CubeTensor) -> usize {
    let ([rows, inner], [_, columns]) = (last_two(lhs), last_two(rhs));
    let [of_tile, across] = cut.tile();
    let matrices = lhs.meta.shape().num_elements() / (rows * inner);
    matrices * rows.div_ceil(of_tile) * columns.div_ceil(across)
}

/// Whether rows or columns are contiguous; `None` if neither are, or if the matrices are not stored one after another.
fn layout(x: &CubeTensor) -> Option<MatrixLayout> {
    match matrix_batch_layout(x.meta.strides(), None) {
        MatrixBatchLayout::Contiguous => Some(RowMajor),
        MatrixBatchLayout::MildlyPermuted {
            transposed,
            batch_swap: false,
        } => Some(if transposed { ColMajor } else { RowMajor }),
        _ => None,
    }
}

/// Number of rows and columns: the last two dimensions.
fn last_two(x: &CubeTensor) -> [usize; 2] {
    let shape = x.meta.shape();
    let last = shape.num_dims() - 1;
    [shape[last - 1], shape[last]]
}
