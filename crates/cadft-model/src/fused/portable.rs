//! The operations in plain tensor form: what they mean, on every backend.

use burn::tensor::{Bool, Tensor, TensorData, activation};

use super::AttentionInput;

/// Stands for −∞ in masked scores: finite, so that a row whose keys are all hidden gives no NaN.
const HIDDEN_SCORE: f32 = -1e30;

/// See [`super::linear`].
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    x.matmul(weight.transpose())
}

/// See [`super::rms_norm`].
#[must_use]
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let mean_square = x.clone().square().mean_dim(2); // [batch, seq, 1]
    x * (mean_square + epsilon).sqrt().recip() * weight.unsqueeze()
}

/// See [`super::swiglu`].
#[must_use]
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    activation::silu(gate) * up
}

/// See [`super::causal_attention`].
#[must_use]
pub fn causal_attention(input: AttentionInput) -> Tensor<3> {
    let AttentionInput {
        query,
        key,
        value,
        cos,
        sin,
    } = input;
    let [seq, pairs] = cos.dims();
    let tables = (cos.reshape([1, 1, seq, pairs]), sin.reshape([1, 1, seq, pairs]));
    let device = query.device();
    let query = rotate(split_heads(query, 2 * pairs), &tables);
    let key = rotate(split_heads(key, 2 * pairs), &tables);
    let hidden: Vec<bool> = (0..seq)
        .flat_map(|query| (0..seq).map(move |key| key > query))
        .collect();
    let hidden = Tensor::from_data(TensorData::new(hidden, [1, 1, 1, seq, seq]), &device);
    merge_heads(attend(query, key, split_heads(value, 2 * pairs), Some(hidden)))
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

/// Rotates dimension `i` of each head with dimension `i + head_dim / 2`.
///
/// The cosines and sines are `[batch or 1, 1, seq, head_dim / 2]`.
pub(crate) fn rotate(x: Tensor<4>, (cos, sin): &(Tensor<4>, Tensor<4>)) -> Tensor<4> {
    let [_, _, _, head_dim] = x.dims();
    let first = x.clone().slice_dim(3, 0..head_dim / 2);
    let second = x.slice_dim(3, head_dim / 2..head_dim);
    let rotated = vec![
        first.clone() * cos.clone() - second.clone() * sin.clone(),
        second * cos.clone() + first * sin.clone(),
    ];
    Tensor::cat(rotated, 3)
}

/// Attention of `[batch, heads, seq, head_dim]` queries to `[batch, kv_heads, keys, head_dim]` keys and values.
///
/// The query heads that share a key and value head are stacked along the sequence, so keys and values are never
/// repeated. `is_hidden` is `[batch or 1, 1, 1, seq, keys]`.
pub(crate) fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    is_hidden: Option<Tensor<5, Bool>>,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = query.dims();
    let [_, kv_heads, keys, _] = key.dims();
    let groups = heads / kv_heads;
    let scale = (head_dim as f64).powf(-0.5);
    let query = (query * scale).reshape([batch, kv_heads, groups * seq, head_dim]);
    let scores = query.matmul(key.swap_dims(2, 3)); // [batch, kv_heads, groups * seq, keys]
    let mut scores = scores.reshape([batch, kv_heads, groups, seq, keys]);
    if let Some(is_hidden) = is_hidden {
        scores = scores.mask_fill(
            is_hidden.expand([batch, kv_heads, groups, seq, keys]),
            HIDDEN_SCORE,
        );
    }
    let weights = activation::softmax(scores, 4).reshape([batch, kv_heads, groups * seq, keys]);
    weights.matmul(value).reshape([batch, heads, seq, head_dim])
}
