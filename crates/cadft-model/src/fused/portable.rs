//! The operations as plain tensor operations; they define the results on every backend.

use std::f64::consts::PI;

use burn::tensor::{Bool, Int, Tensor, TensorData, activation};
use cadft_kernels::{Precision, matmul};

use super::{Activation, AttentionInput, AttentionOptions, Rotation};

/// Used for −∞ in masked scores. It is finite, so a row whose keys are all hidden gives no NaN.
const HIDDEN_SCORE: f32 = -1e30;

/// See [`super::linear`].
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    matmul(x, weight.transpose())
}

/// See [`super::select_rows`].
#[must_use]
pub fn select_rows(x: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    x.select(0, ids)
}

/// See [`super::add_bias`].
#[must_use]
pub fn add_bias(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    x + bias.unsqueeze()
}

/// See [`super::rms_norm`].
#[must_use]
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let mean_square = x.clone().square().mean_dim(2); // [batch, seq, 1]
    x * (mean_square + epsilon).sqrt().recip() * weight.unsqueeze()
}

/// See [`super::gated`].
#[must_use]
pub fn gated(activation: Activation, gate: Tensor<3>, up: Tensor<3>, precision: Precision) -> Tensor<3> {
    let active = match activation {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => {
            let inner = (gate.clone().powi_scalar(3) * 0.044_715 + gate.clone()) * (8.0 / PI).sqrt();
            gate * activation::sigmoid(inner)
        }
    };
    (active * up).cast(precision.dtype())
}

/// See [`super::causal_attention`].
#[must_use]
pub fn causal_attention(input: AttentionInput) -> Tensor<3> {
    let AttentionInput {
        query,
        key,
        value,
        rotation,
        options,
    } = input;
    let [batch, seq, _] = query.dims();
    let rows = if options.starts.is_some() { batch } else { 1 };
    let mut hidden = Vec::with_capacity(rows * seq * seq);
    for row in 0..rows {
        for position in 0..seq {
            let first = options.first_key(row, position, seq);
            hidden.extend((0..seq).map(|key| key < first || key > position));
        }
    }
    let hidden = Tensor::from_data(TensorData::new(hidden, [rows, 1, 1, seq, seq]), &query.device());
    let heads = |x: Tensor<3>| split_heads(x, options.head_dim);
    let (query, key) = (
        rotate(heads(query), rotation.as_ref()),
        rotate(heads(key), rotation.as_ref()),
    );
    merge_heads(attend([query, key, heads(value)], Some(hidden), &options))
}

/// See [`super::log_sum_exp`].
#[cfg(not(feature = "flex"))]
pub(super) fn log_sum_exp(row: &[f32]) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + row.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
}

/// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
pub(crate) fn split_heads(x: Tensor<3>, head_dim: usize) -> Tensor<4> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch, seq, width / head_dim, head_dim])
        .swap_dims(1, 2)
}

/// `[batch, heads, seq, head_dim]` to `[batch, seq, heads * head_dim]`.
pub(crate) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, seq, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, seq, heads * head_dim])
}

/// Rotates the heads of `[batch, heads, seq, head_dim]`.
pub(crate) fn rotate(x: Tensor<4>, rotation: Option<&Rotation>) -> Tensor<4> {
    let Some(Rotation { cos, sin }) = rotation else {
        return x;
    };
    let [_, _, _, head_dim] = x.dims();
    let [rows, seq, pairs] = cos.dims();
    let table = |table: &Tensor<3>| table.clone().reshape([rows, 1, seq, pairs]);
    let (cos, sin) = (table(cos), table(sin));
    let first = x.clone().slice_dim(3, 0..pairs);
    let second = x.clone().slice_dim(3, pairs..2 * pairs);
    let mut rotated = vec![
        first.clone() * cos.clone() - second.clone() * sin.clone(),
        second * cos + first * sin,
    ];
    if 2 * pairs < head_dim {
        rotated.push(x.slice_dim(3, 2 * pairs..head_dim));
    }
    Tensor::cat(rotated, 3)
}

/// Attention of `[batch, heads, seq, head_dim]` queries to `[batch, kv_heads, keys, head_dim]` keys and values.
///
/// Query heads that share a key and value head are stacked along the sequence, so keys and values are never repeated.
/// `is_hidden` is `[batch or 1, 1, 1, seq, keys]`; `options` gives scale and soft-cap.
pub(crate) fn attend(
    [query, key, value]: [Tensor<4>; 3],
    is_hidden: Option<Tensor<5, Bool>>,
    options: &AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = query.dims();
    let [_, kv_heads, keys, _] = key.dims();
    let groups = heads / kv_heads;
    let query = (query * options.scale).reshape([batch, kv_heads, groups * seq, head_dim]);
    let mut scores = matmul(query, key.swap_dims(2, 3)); // [batch, kv_heads, groups * seq, keys]
    if let Some(cap) = options.softcap {
        scores = (scores / cap).tanh() * cap;
    }
    let mut scores = scores.reshape([batch, kv_heads, groups, seq, keys]);
    if let Some(is_hidden) = is_hidden {
        scores = scores.mask_fill(
            is_hidden.expand([batch, kv_heads, groups, seq, keys]),
            HIDDEN_SCORE,
        );
    }
    let weights = activation::softmax(scores, 4).reshape([batch, kv_heads, groups * seq, keys]);
    matmul(weights, value).reshape([batch, heads, seq, head_dim])
}
