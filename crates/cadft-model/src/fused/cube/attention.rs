//! Causal attention in tiles of queries: only the scores of one tile are in memory.
//!
//! ```text
//! p(t, s) = exp(z(t, s) − lse(t)),   z(t, s) = q(t) · k(s),   o(t) = Σ_s p(t, s) v(s),   first(t) ≤ s ≤ t
//! dv(s) = Σ_t p(t, s) do(t),   dz(t, s) = p(t, s) (do(t) · v(s) − do(t) · o(t))
//! dq(t) = Σ_s dz(t, s) k(s),   dk(s) = Σ_t dz(t, s) q(t)
//! ```
//!
//! q is rotated and scaled, k is rotated, and a soft-cap is applied to z if there is one. The products are matrix
//! products, on tensor cores if the device has them. One kernel turns scores into probabilities, another into gradients
//! (Dao et al. 2022, arXiv 2205.14135, section 3.1 and appendix B, with tiles of queries only). Query heads that share
//! a key and value head are stacked, so keys and values are never repeated. A tile needs the keys from the first key of
//! its first query to its last query.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cadft_kernels::{Precision, add_rows, cast, cube_matmul};

use super::heads::{Rotary, by_head, by_position};
use super::scores::{TileLaunch, score_gradients, softmax};
use super::{empty, empty_factor, one_cube_each, threads};
use crate::fused::AttentionOptions;
use crate::fused::kernels::{AttentionOutputs, AttentionSaved};

/// Number of scores in memory at a time: 256 MiB in f32, plus the same number of factors computed from them. It is
/// lower if the device has no buffer of that size, and higher if [`FEWEST`] queries have more scores.
const SCORES: usize = 1 << 26;
/// Smallest number of queries in a tile, for sequences that are long enough.
const FEWEST: usize = 64;
/// Largest number of queries in a tile: this, or an eighth of the sequence if that is more. Masked scores of a tile are
/// wasted work.
const MOST: usize = 128;
/// Tiles of keys start at a multiple of this, so that slices are aligned.
const ALIGNED: usize = 64;

/// The attention output, and the tensors for the backward pass in the order of [`AttentionSaved`].
pub(super) fn forward(
    [query, key, value]: [CubeTensor; 3],
    rotation: [CubeTensor; 2],
    options: &AttentionOptions,
) -> AttentionOutputs<CubeTensor> {
    let rotary = Rotary::new(rotation);
    let head_dim = options.head_dim;
    let query = by_head(query, Some((&rotary, options.scale)), options);
    let key = by_head(key, Some((&rotary, 1.0)), options);
    let value = by_head(value, None, options);
    let problem = Problem::new(&query, &key, options);
    let (mut output, mut log_sum_exp) = (Parts::default(), Parts::default());
    for tile in problem.tiles() {
        let scores = problem.product(problem.queries(&query, &tile), &key, &tile);
        let (probs, sums) = problem.softmax(&scores, &tile);
        log_sum_exp.add(sums, tile.start, problem.seq);
        let part = cube_matmul(probs, problem.keys(&value, &tile), DType::F32);
        output.add(problem.heads_of(part), tile.start, problem.seq);
    }
    let output = output.of([problem.batch, problem.heads, problem.seq, head_dim]);
    let log_sum_exp = log_sum_exp.of([problem.batch, problem.heads, problem.seq]);
    let merged = by_position(output.clone(), None);
    (merged, query, key, value, output, log_sum_exp)
}

/// Gradients of query, key and value before rotation.
pub(super) fn backward(
    saved: AttentionSaved<CubeBackend>,
    grad: CubeTensor,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let AttentionSaved {
        query,
        key,
        value,
        output,
        log_sum_exp,
        cos,
        sin,
        options,
    } = saved;
    let rotary = Rotary::new([cos, sin]);
    let [query, key, value, log_sum_exp] = [query, key, value, log_sum_exp].map(into_contiguous);
    let problem = Problem::new(&query, &key, &options);
    let grad = by_head(grad, None, &options);
    // do(t) · o(t), [batch, heads, seq, 1].
    let delta = CubeBackend::float_mul(cast::<CubeBackend>(grad.clone(), DType::F32), output);
    let delta = CubeBackend::float_sum_dim(delta, 3);
    let statistics = [log_sum_exp, into_contiguous(delta)];
    let [mut d_query, mut d_key, mut d_value] = [(); 3].map(|()| Parts::default());
    for tile in problem.tiles() {
        let [queries, grads] = [&query, &grad].map(|x| problem.queries(x, &tile));
        let scores = problem.product(queries.clone(), &key, &tile);
        let d_probs = problem.product(grads.clone(), &value, &tile);
        let [probs, d_scores] = problem.score_gradients([scores, d_probs], &statistics, &tile);
        let transposed = CubeBackend::float_transpose;
        let of_value = cube_matmul(transposed(probs), grads, DType::F32);
        let of_key = cube_matmul(transposed(d_scores.clone()), queries, DType::F32);
        d_value.add(of_value, tile.first, problem.seq);
        d_key.add(of_key, tile.first, problem.seq);
        let of_query = cube_matmul(d_scores, problem.keys(&key, &tile), DType::F32);
        d_query.add(problem.heads_of(of_query), tile.start, problem.seq);
    }
    let of_keys = [problem.batch, problem.kv_heads, problem.seq, problem.head_dim];
    let d_query = d_query.of([problem.batch, problem.heads, problem.seq, problem.head_dim]);
    (
        by_position(d_query, Some((&rotary, options.scale))),
        by_position(d_key.of(of_keys), Some((&rotary, 1.0))),
        by_position(d_value.of(of_keys), None),
    )
}

/// The tile with queries `start..end`, and the keys `first..end` that they need.
struct Tile {
    start: usize,
    end: usize,
    first: usize,
}

/// Sizes of one attention, and which keys each query may attend to.
struct Problem {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    seq: usize,
    head_dim: usize,
    /// The first key of every query, for every row, or for one row if all rows are equal.
    first_keys: Vec<u32>,
    /// `first_keys` on the device, `[batch or 1, seq]`.
    on_device: CubeTensor,
    softcap: Option<f64>,
    precision: Precision,
    /// Largest number of scores in memory at a time.
    most: usize,
}

impl Problem {
    fn new(query: &CubeTensor, key: &CubeTensor, options: &AttentionOptions) -> Self {
        let [batch, heads, seq, head_dim] = query.shape().dims();
        let [_, kv_heads, _, _] = key.shape().dims();
        let rows = if options.starts.is_some() { batch } else { 1 };
        let first_keys: Vec<u32> = (0..rows)
            .flat_map(|row| (0..seq).map(move |position| (row, position)))
            .map(|(row, position)| options.first_key(row, position, seq) as u32)
            .collect();
        let largest = query.client.properties().memory.max_page_size;
        let on_device = CubeTensor::new_contiguous(
            query.client.clone(),
            query.device.clone(),
            Shape::new([rows, seq]),
            query.client.create_from_slice(u32::as_bytes(&first_keys)),
            DType::U32,
        );
        Self {
            batch,
            heads,
            kv_heads,
            seq,
            head_dim,
            first_keys,
            on_device,
            softcap: options.softcap,
            precision: options.precision,
            most: usize::try_from(largest / size_of::<f32>() as u64).map_or(SCORES, |most| most.min(SCORES)),
        }
    }

    /// Tiles that cover all queries.
    fn tiles(&self) -> Vec<Tile> {
        let of_one = self.batch * self.heads * self.seq;
        let most = (self.most / of_one.max(1)).min(MOST.max(self.seq / 8));
        // Powers of two keep the number of different product sizes small.
        let queries = 1 << most.max(FEWEST).ilog2();
        (0..self.seq)
            .step_by(queries)
            .map(|start| {
                let of_row = |row: &[u32]| row[start] as usize;
                let first = self.first_keys.chunks(self.seq).map(of_row).min().unwrap_or(0);
                Tile {
                    start,
                    end: (start + queries).min(self.seq),
                    first: first / ALIGNED * ALIGNED,
                }
            })
            .collect()
    }

    /// The queries of a tile, from `[batch, heads, seq, head_dim]` to `[batch · kv_heads, groups · queries, head_dim]`.
    fn queries(&self, x: &CubeTensor, tile: &Tile) -> CubeTensor {
        let rows = CubeBackend::float_slice(x.clone(), &along_sequence(x, tile.start..tile.end));
        let groups = self.heads / self.kv_heads;
        let shape = [
            self.batch * self.kv_heads,
            groups * (tile.end - tile.start),
            self.head_dim,
        ];
        CubeBackend::float_reshape(into_contiguous(rows), Shape::new(shape))
    }

    /// The keys of a tile, from `[batch, kv_heads, seq, head_dim]` to `[batch · kv_heads, keys, head_dim]`.
    fn keys(&self, x: &CubeTensor, tile: &Tile) -> CubeTensor {
        let shape = [self.batch * self.kv_heads, self.seq, self.head_dim];
        let x = CubeBackend::float_reshape(x.clone(), Shape::new(shape));
        let rows = [Slice::full(), Slice::from(tile.first..tile.end), Slice::full()];
        CubeBackend::float_slice(x, &rows)
    }

    /// Products of a tile's queries and keys, `[batch · kv_heads, groups · queries, keys]`.
    fn product(&self, queries: CubeTensor, keys: &CubeTensor, tile: &Tile) -> CubeTensor {
        let keys = CubeBackend::float_transpose(self.keys(keys, tile));
        into_contiguous(cube_matmul(queries, keys, DType::F32))
    }

    /// From `[batch · kv_heads, groups · queries, head_dim]` to `[batch · heads, queries, head_dim]`.
    fn heads_of(&self, x: CubeTensor) -> CubeTensor {
        let [_, rows, _] = x.shape().dims();
        let queries = rows * self.kv_heads / self.heads;
        let shape = [self.batch * self.heads, queries, self.head_dim];
        CubeBackend::float_reshape(x, Shape::new(shape))
    }

    /// The probabilities of the scores, in the dtype of a factor, and `log Σ exp` of the scores,
    /// `[batch · heads, queries, 1]`.
    fn softmax(&self, scores: &CubeTensor, tile: &Tile) -> (CubeTensor, CubeTensor) {
        let [matrices, rows, keys] = scores.shape().dims();
        let threads = threads(keys);
        let queries = tile.end - tile.start;
        let probs = empty_factor(scores, scores.shape(), self.precision);
        let log_sum_exp = empty(scores, Shape::new([self.batch * self.heads, queries, 1]));
        softmax::launch(
            &scores.client,
            one_cube_each(matrices * rows),
            CubeDim::new_1d(threads as u32),
            scores.clone().into_tensor_arg(),
            probs.clone().into_tensor_arg(),
            log_sum_exp.clone().into_tensor_arg(),
            self.on_device.clone().into_tensor_arg(),
            self.described(tile),
            self.cap(),
            self.softcap.is_some(),
            threads,
            dtype_to_elem_type(probs.dtype),
        );
        (probs, log_sum_exp)
    }

    /// The probabilities of the scores, and the gradients of the scores from those of the probabilities; both in the
    /// dtype of factors.
    fn score_gradients(
        &self,
        [scores, d_probs]: [CubeTensor; 2],
        [log_sum_exp, delta]: &[CubeTensor; 2],
        tile: &Tile,
    ) -> [CubeTensor; 2] {
        let [matrices, rows, keys] = scores.shape().dims();
        let factors = [(); 2].map(|()| empty_factor(&scores, scores.shape(), self.precision));
        score_gradients::launch(
            &scores.client,
            one_cube_each(matrices * rows),
            CubeDim::new_1d(threads(keys) as u32),
            scores.clone().into_tensor_arg(),
            d_probs.into_tensor_arg(),
            log_sum_exp.clone().into_tensor_arg(),
            delta.clone().into_tensor_arg(),
            self.on_device.clone().into_tensor_arg(),
            factors[0].clone().into_tensor_arg(),
            factors[1].clone().into_tensor_arg(),
            self.described(tile),
            self.cap(),
            self.softcap.is_some(),
            dtype_to_elem_type(factors[0].dtype),
        );
        factors
    }

    fn described(&self, tile: &Tile) -> TileLaunch {
        TileLaunch::new(
            self.heads as u32,
            self.seq as u32,
            (tile.end - tile.start) as u32,
            tile.start as u32,
            tile.first as u32,
        )
    }

    /// The soft-cap; 1 if there is none.
    fn cap(&self) -> f32 {
        self.softcap.unwrap_or(1.0) as f32
    }
}

/// The slice of `[batch, heads, seq, head_dim]` with a range of positions.
fn along_sequence(x: &CubeTensor, positions: std::ops::Range<usize>) -> [Slice; 4] {
    let [batch, heads, _, head_dim] = x.shape().dims();
    [
        Slice::from(0..batch),
        Slice::from(0..heads),
        Slice::from(positions),
        Slice::from(0..head_dim),
    ]
}

/// A sum of parts, `[matrices, rows, columns]`; zero in rows to which nothing was added.
#[derive(Default)]
struct Parts(Option<CubeTensor>);

impl Parts {
    /// Adds a part at row `first`; the sum has `rows` rows.
    fn add(&mut self, part: CubeTensor, first: usize, rows: usize) {
        let [matrices, some, columns] = part.shape().dims();
        self.0 = Some(match self.0.take() {
            None if some == rows => part,
            whole => {
                let zeros = || {
                    let shape = Shape::new([matrices, rows, columns]);
                    CubeBackend::float_zeros(shape, &part.device, DType::F32.into())
                };
                add_rows(whole.unwrap_or_else(zeros), part.clone(), first)
            }
        });
    }

    /// The sum, reshaped.
    fn of<const D: usize>(self, shape: [usize; D]) -> CubeTensor {
        let whole = self.0.expect("there is a tile of queries");
        CubeBackend::float_reshape(whole, Shape::new(shape))
    }
}
