//! From scores to probabilities and back: one cube of threads per query.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use cadft_kernels::reduce::{larger, max_of_cube, sum_of_cube};

/// Scores of a row that a thread keeps in registers.
const KEPT: usize = 8;

/// The position of a tile: it gives the query of a row of scores and its visible keys. Rows are
/// `[matrices, groups, queries]`; a matrix is a key and value head of a sequence.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Tile {
    /// Number of query heads of a sequence.
    pub(super) heads: u32,
    /// Number of positions of a sequence.
    pub(super) seq: u32,
    /// Number of queries in the tile.
    pub(super) queries: u32,
    /// Position of the tile's first query.
    pub(super) first_query: u32,
    /// Position of the tile's first key.
    pub(super) first_key: u32,
}

/// The first column that is visible to the query of a row.
#[cube]
fn first_column(row: usize, first_keys: &Tensor<u32>, tile: &Tile) -> usize {
    let position = tile.first_query as usize + row % tile.queries as usize;
    let mut batch = row / tile.queries as usize / tile.heads as usize;
    if first_keys.shape(0) == 1 {
        batch = 0usize;
    }
    let first = first_keys[batch * tile.seq as usize + position];
    let mut column = 0usize;
    if first > tile.first_key {
        column = (first - tile.first_key) as usize;
    }
    column
}

/// One past the last column that is visible to the query of a row.
#[cube]
fn end_column(row: usize, tile: &Tile) -> usize {
    tile.first_query as usize + row % tile.queries as usize + 1 - tile.first_key as usize
}

/// The index of a row's statistics in `[batch, heads, seq]`.
#[cube]
fn place(row: usize, tile: &Tile) -> usize {
    row / tile.queries as usize * tile.seq as usize + tile.first_query as usize + row % tile.queries as usize
}

/// `cap · tanh(z / cap)`.
#[cube]
fn capped(score: f32, cap: f32, #[comptime] is_capped: bool) -> f32 {
    let mut z = score;
    if comptime!(is_capped) {
        z = cap * (score / cap).tanh();
    }
    z
}

/// Turns scores into probabilities; hidden keys get 0.
#[cube(launch)]
pub(super) fn softmax<P: Float>(
    scores: &Tensor<f32>,          // [matrices, groups * queries, keys]
    probs: &mut Tensor<P>,         // as scores
    log_sum_exp: &mut Tensor<f32>, // one per row
    first_keys: &Tensor<u32>,      // [batch or 1, seq]
    tile: Tile,
    cap: f32,
    #[comptime] is_capped: bool,
    #[comptime] threads: usize,
    #[define(P)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    let keys = scores.shape(2);
    if row >= scores.shape(0) * scores.shape(1) {
        terminate!();
    }
    let start = row * keys;
    let first = first_column(row, first_keys, &tile);
    let end = end_column(row, &tile);

    // Values that a thread needs several times stay in registers, up to `KEPT`.
    let mut kept = Array::<f32>::new(KEPT);
    let mut largest = f32::min_value();
    #[unroll]
    for index in 0..KEPT {
        let column = UNIT_POS as usize + index * CUBE_DIM as usize;
        let mut score = f32::min_value();
        if column >= first && column < end {
            score = capped(scores[start + column], cap, is_capped);
        }
        kept[index] = score;
        largest = larger(largest, score);
    }
    let mut column = UNIT_POS as usize + comptime!(KEPT) * CUBE_DIM as usize;
    while column < end {
        if column >= first {
            largest = larger(largest, capped(scores[start + column], cap, is_capped));
        }
        column += CUBE_DIM as usize;
    }
    let largest = max_of_cube(largest, threads);

    let mut sum = 0.0f32;
    #[unroll]
    for index in 0..KEPT {
        // This is 0 for a hidden key.
        sum += (kept[index] - largest).exp();
    }
    let mut column = UNIT_POS as usize + comptime!(KEPT) * CUBE_DIM as usize;
    while column < end {
        if column >= first {
            sum += (capped(scores[start + column], cap, is_capped) - largest).exp();
        }
        column += CUBE_DIM as usize;
    }
    let sum = sum_of_cube(sum, threads);
    let lse = largest + sum.ln();

    #[unroll]
    for index in 0..KEPT {
        let column = UNIT_POS as usize + index * CUBE_DIM as usize;
        if column < keys {
            probs[start + column] = P::cast_from((kept[index] - lse).exp());
        }
    }
    let mut column = UNIT_POS as usize + comptime!(KEPT) * CUBE_DIM as usize;
    while column < keys {
        let mut probability = 0.0f32;
        if column >= first && column < end {
            probability = (capped(scores[start + column], cap, is_capped) - lse).exp();
        }
        probs[start + column] = P::cast_from(probability);
        column += CUBE_DIM as usize;
    }
    if UNIT_POS == 0 {
        log_sum_exp[row] = lse;
    }
}

/// Turns scores into probabilities, and `do · v` into the gradient of the scores: `p = exp(z − lse)`,
/// `dz = p (do · v − delta)`, times the derivative of the soft-cap if there is one.
#[cube(launch)]
pub(super) fn score_gradients<P: Float>(
    scores: &Tensor<f32>,      // [matrices, groups * queries, keys]
    d_probs: &Tensor<f32>,     // do · v, as scores
    log_sum_exp: &Tensor<f32>, // [batch, heads, seq]
    delta: &Tensor<f32>,       // as log_sum_exp
    first_keys: &Tensor<u32>,  // [batch or 1, seq]
    probs: &mut Tensor<P>,     // as scores
    d_scores: &mut Tensor<P>,  // as scores
    tile: Tile,
    cap: f32,
    #[comptime] is_capped: bool,
    #[define(P)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    let keys = scores.shape(2);
    if row >= scores.shape(0) * scores.shape(1) {
        terminate!();
    }
    let start = row * keys;
    let first = first_column(row, first_keys, &tile);
    let end = end_column(row, &tile);
    let kept_at = place(row, &tile);
    let lse = log_sum_exp[kept_at];
    let delta = delta[kept_at];
    let mut column = UNIT_POS as usize;
    while column < keys {
        let at = start + column;
        let mut probability = 0.0f32;
        let mut gradient = 0.0f32;
        if column >= first && column < end {
            let z = capped(scores[at], cap, is_capped);
            probability = (z - lse).exp();
            gradient = probability * (d_probs[at] - delta);
            if comptime!(is_capped) {
                gradient *= 1.0f32 - z / cap * (z / cap);
            }
        }
        probs[at] = P::cast_from(probability);
        d_scores[at] = P::cast_from(gradient);
        column += CUBE_DIM as usize;
    }
}
