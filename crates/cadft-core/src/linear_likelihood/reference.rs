//! The naive likelihood, which holds all logits: the oracle of the fused one.

use burn::tensor::{Int, Tensor, activation};

/// Log-likelihood of each target by way of the full `[tokens, vocab]` logits; for tests and small vocabularies.
///
/// # Shapes
/// As [`linear_log_probs`](super::linear_log_probs).
#[must_use]
pub fn naive_log_probs(hidden: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let logits = hidden.matmul(weight.transpose()); // [tokens, vocab]
    activation::log_softmax(logits, 1)
        .gather(1, targets.unsqueeze_dim(1))
        .squeeze_dim(1)
}
