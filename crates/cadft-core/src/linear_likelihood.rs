//! The fused output projection and likelihood: the `[tokens, vocab]` logits never exist as a whole.
//!
//! ```text
//! log p_t = logits_t[y_t] − log Σ_v exp(logits_t[v]),   logits_t = W h_t, or cap · tanh(W h_t / cap)
//! ∂/∂logits_t Σ_t g_t · log p_t = g_t · (onehot(y_t) − softmax(logits_t))      (OBJ-2)
//! ```
//!
//! The forward pass keeps one number a token, `log Σ exp`. The backward pass computes the logits again, a chunk of rows
//! at a time. Memory beyond inputs and gradients is one chunk, `rows × vocab` values. Pass only supervised positions.

mod autodiff;
mod chunk;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod inputs;
mod kernels;
mod mass;
mod operations;
mod portable;
mod reference;
mod statistic;

pub use chunk::ChunkSize;
pub use mass::linear_mass_below;
pub use reference::naive_log_probs;
pub use statistic::Statistic;

use burn::backend::Dispatch;
use burn::tensor::{DType, Int, Tensor};
use cadft_kernels::{LogitOptions, Precision, bf16_linear, matmul};
use operations::LikelihoodOperations;

/// Log-likelihood of each target, differentiable in `hidden` and `weight`.
///
/// With [`Precision::Bf16`], or `hidden` in bf16, the factors of all matrix products are rounded to bf16. In the
/// backward pass these include the gradients of the logits. Sums, statistics and results stay f32.
///
/// # Shapes
/// - `hidden`: `[tokens, hidden]`, f32 or bf16
/// - `weight`: `[vocab, hidden]`, the output projection in Hugging Face's layout
/// - `targets`: `[tokens]`, ids below `vocab`
/// - output: `[tokens]`, f32
///
/// # Panics
/// If `tokens` is 0 or the shapes disagree.
///
/// # Examples
/// ```
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use cadft_core::{Precision, linear_log_probs};
///
/// let device = Device::flex().autodiff();
/// let hidden = Tensor::<2>::random([3, 8], Distribution::Default, &device).require_grad();
/// let weight = Tensor::<2>::random([11, 8], Distribution::Default, &device).require_grad();
/// let targets = Tensor::<1, Int>::from_data([0, 10, 4], &device);
/// let log_probs = linear_log_probs(hidden.clone(), weight, targets, Precision::F32);
/// let grads = log_probs.sum().backward();
/// assert_eq!(hidden.grad(&grads).unwrap().dims(), [3, 8]);
/// ```
#[must_use]
pub fn linear_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: impl Into<LogitOptions>,
) -> Tensor<1> {
    linear_log_probs_chunked(hidden, weight, targets, options, ChunkSize::Auto)
}

/// [`linear_log_probs`] with a given number of logit rows in memory at a time.
///
/// # Panics
/// If there are no tokens or the shapes disagree.
#[must_use]
pub fn linear_log_probs_chunked(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: impl Into<LogitOptions>,
    chunk: ChunkSize,
) -> Tensor<1> {
    check_shapes(&hidden, &weight);
    let [tokens, _] = hidden.dims();
    assert_eq!(targets.dims(), [tokens], "one target for each row of `hidden`");
    Tensor::from_dispatch(<Dispatch as LikelihoodOperations>::linear_log_probs(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        options.into(),
        chunk,
    ))
}

/// A statistic of the next-token distribution at each position; carries no gradient.
///
/// # Shapes
/// `hidden` `[tokens, hidden]`, `weight` `[vocab, hidden]`, output `[tokens]`, f32.
///
/// # Panics
/// If there are no tokens or the shapes disagree.
#[must_use]
pub fn linear_statistic(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    statistic: Statistic,
    options: impl Into<LogitOptions>,
) -> Tensor<1> {
    check_shapes(&hidden, &weight);
    Tensor::from_dispatch(<Dispatch as LikelihoodOperations>::linear_statistic(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        statistic,
        options.into(),
        ChunkSize::Auto,
    ))
}

/// `KL(reference‖policy)` of the next-token distributions at each position, in nats.
///
/// It is differentiable in the policy's `hidden` and `weight`. The reference is detached from the autodiff graph.
/// Products of both use the number format of the policy.
///
/// # Shapes
/// - policy: `[tokens, hidden]` and `[vocab, hidden]`
/// - reference: the same shapes; its hidden size may differ
/// - output: `[tokens]`, f32
///
/// # Panics
/// If there are no tokens or the shapes disagree.
#[must_use]
pub fn linear_divergence(
    [hidden, weight]: [Tensor<2>; 2],
    [reference_hidden, reference_weight]: [Tensor<2>; 2],
    options: impl Into<[LogitOptions; 2]>,
    chunk: ChunkSize,
) -> Tensor<1> {
    check_shapes(&hidden, &weight);
    check_shapes(&reference_hidden, &reference_weight);
    let sizes = |hidden: &Tensor<2>, weight: &Tensor<2>| {
        let ([tokens, _], [vocab, _]) = (hidden.dims(), weight.dims());
        [tokens, vocab]
    };
    assert_eq!(
        sizes(&hidden, &weight),
        sizes(&reference_hidden, &reference_weight),
        "policy and reference must have the same tokens and vocabulary"
    );
    let on_graph = |x: Tensor<2>| {
        if hidden.is_autodiff() && !x.is_autodiff() {
            Tensor::from_inner(x)
        } else {
            x
        }
    };
    let (reference_hidden, reference_weight) = (on_graph(reference_hidden), on_graph(reference_weight));
    Tensor::from_dispatch(<Dispatch as LikelihoodOperations>::linear_divergence(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        reference_hidden.into_dispatch(),
        reference_weight.into_dispatch(),
        options.into(),
        chunk,
    ))
}

/// The most likely token at each position; the lower id wins a tie. One chunk of logits is in memory at a time.
///
/// There is no soft-cap argument: a soft-cap does not change the order of logits.
///
/// # Shapes
/// `hidden` `[tokens, hidden]`, `weight` `[vocab, hidden]`, output `[tokens]`.
///
/// # Panics
/// If there are no tokens or the shapes disagree.
#[must_use]
pub fn linear_argmax(hidden: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<1, Int> {
    check_shapes(&hidden, &weight);
    let ([tokens, _], [vocab, _]) = (hidden.dims(), weight.dims());
    let weight = match precision {
        Precision::F32 => weight,
        Precision::Bf16 => weight.cast(DType::BF16), // converted once, for all chunks
    };
    let rows = ChunkSize::Auto.rows(vocab).min(tokens);
    let parts = hidden.split(rows, 0).into_iter().map(|rows| {
        let logits = match precision {
            Precision::F32 => matmul(rows, weight.clone().transpose()),
            Precision::Bf16 => bf16_linear(rows, weight.clone()),
        }; // [rows, vocab]
        logits.argmax(1).squeeze_dim(1)
    });
    Tensor::cat(parts.collect(), 0)
}

fn check_shapes(hidden: &Tensor<2>, weight: &Tensor<2>) {
    let [tokens, size] = hidden.dims();
    let [_, expected] = weight.dims();
    assert!(tokens > 0, "the fused likelihood needs at least one token");
    assert_eq!(
        size, expected,
        "`hidden` and `weight` must have the same hidden size"
    );
}
