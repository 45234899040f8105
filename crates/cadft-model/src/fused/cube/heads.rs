//! Transposes between `[batch, seq, heads * head_dim]` and `[batch, heads, seq, head_dim]`, with rotation: one thread
//! per value.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::Shape;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{empty, empty_factor, one_thread_each};
use crate::fused::AttentionOptions;

/// Cosines and sines, `[batch or 1, seq, pairs]`; `pairs` is 0 without rotation.
pub(super) struct Rotary {
    tables: [CubeTensor; 2],
    pairs: usize,
}

impl Rotary {
    pub(super) fn new(tables: [CubeTensor; 2]) -> Self {
        let tables = tables.map(into_contiguous);
        let [_, _, pairs] = tables[0].shape().dims();
        Self { tables, pairs }
    }
}

/// What is applied to a head: nothing, or rotation and a factor.
pub(super) type Scaled<'a> = Option<(&'a Rotary, f64)>;

/// Transposes `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`, rotated, in the dtype of a factor.
pub(super) fn by_head(x: CubeTensor, scaled: Scaled<'_>, options: &AttentionOptions) -> CubeTensor {
    let [batch, seq, width] = x.shape().dims();
    let head_dim = options.head_dim;
    let shape = Shape::new([batch, width / head_dim, seq, head_dim]);
    let output = empty_factor(&x, shape, options.precision);
    launch(x, output, scaled, Direction::ByHead)
}

/// Transposes `[batch, heads, seq, head_dim]` to `[batch, seq, heads * head_dim]`, rotated back.
pub(super) fn by_position(x: CubeTensor, scaled: Scaled<'_>) -> CubeTensor {
    let [batch, heads, seq, head_dim] = x.shape().dims();
    let output = empty(&x, Shape::new([batch, seq, heads * head_dim]));
    launch(x, output, scaled, Direction::ByPosition)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Direction {
    ByHead,
    ByPosition,
}

fn launch(x: CubeTensor, output: CubeTensor, scaled: Scaled<'_>, direction: Direction) -> CubeTensor {
    let x = into_contiguous(x);
    let by_head = match direction {
        Direction::ByHead => &output,
        Direction::ByPosition => &x,
    };
    let [_, heads, seq, head_dim] = by_head.shape().dims();
    let pairs = scaled.map_or(0, |(rotary, _)| rotary.pairs);
    // A kernel needs a tensor even for a table that it does not read.
    let [cos, sin] = match scaled {
        Some((rotary, _)) if pairs > 0 => rotary.tables.clone(),
        _ => [x.clone(), x.clone()],
    };
    let (count, dim) = one_thread_each(&output);
    transfer::launch(
        &x.client,
        count,
        dim,
        x.clone().into_tensor_arg(),
        cos.into_tensor_arg(),
        sin.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        scaled.map_or(1.0, |(_, factor)| factor as f32),
        heads as u32,
        seq as u32,
        [head_dim, pairs],
        direction,
        dtype_to_elem_type(output.dtype),
    );
    output
}

/// `output = factor · rotation(x)`; dimension `i` of a head is rotated with dimension `i + pairs`.
#[cube(launch)]
fn transfer<O: Float>(
    x: &Tensor<f32>,
    cos: &Tensor<f32>, // [batch or 1, seq, pairs]
    sin: &Tensor<f32>, // as cos
    output: &mut Tensor<O>,
    factor: f32,
    heads: u32,
    seq: u32,
    #[comptime] sizes: [usize; 2],
    #[comptime] direction: Direction,
    #[define(O)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let head_dim = comptime!(sizes[0]);
    let pairs = comptime!(sizes[1]);
    let heads = heads as usize;
    let seq = seq as usize;
    let dimension = ABSOLUTE_POS % head_dim;
    let vector = ABSOLUTE_POS / head_dim;
    // The position of the vector in the other layout.
    let is_by_head = comptime!(direction == Direction::ByHead);
    let position = if is_by_head {
        vector % seq
    } else {
        vector / heads % seq
    };
    let head = if is_by_head {
        vector / seq % heads
    } else {
        vector % heads
    };
    let batch = vector / seq / heads;
    let from = if is_by_head {
        (batch * seq + position) * heads + head
    } else {
        (batch * heads + head) * seq + position
    };
    let start = from * head_dim;
    let mut value = x[start + dimension];
    if comptime!(pairs > 0) {
        let mut row = batch;
        if cos.shape(0) == 1 {
            row = 0usize;
        }
        let angles = (row * seq + position) * pairs;
        value = rotated(x, cos, sin, start, dimension, angles, pairs, direction);
    }
    output[ABSOLUTE_POS] = O::cast_from(factor * value);
}

/// One dimension of the vector that starts at `start`, rotated by the angles that start at `angles`.
#[cube]
#[expect(clippy::too_many_arguments, reason = "kernels take no tuples")]
fn rotated(
    x: &Tensor<f32>,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    start: usize,
    dimension: usize,
    angles: usize,
    #[comptime] pairs: usize,
    #[comptime] direction: Direction,
) -> f32 {
    let mut value = x[start + dimension];
    if dimension < comptime!(2 * pairs) {
        let angle = angles + dimension % pairs;
        let mut sine = sin[angle];
        // The backward rotation is reversed, so the sign of the sine changes.
        if comptime!(direction == Direction::ByPosition) {
            sine = -sine;
        }
        let is_first = dimension < pairs;
        let partner = x[start + select(is_first, dimension + pairs, dimension - pairs)];
        value = value * cos[angle] + select(is_first, -partner, partner) * sine;
    }
    value
}
