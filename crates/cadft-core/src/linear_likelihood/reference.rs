//! The naive likelihood, which computes all logits at once: the oracle for the fused one.

use burn::tensor::{Int, Tensor, activation};

/// Log-likelihood of each target from the full `[tokens, vocab]` logits; for tests and small vocabularies.
///
/// # Shapes
/// The same as [`linear_log_probs`](super::linear_log_probs).
#[must_use]
pub fn naive_log_probs(hidden: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let logits = hidden.matmul(weight.transpose()); // [tokens, vocab]
    activation::log_softmax(logits, 1)
        .gather(1, targets.unsqueeze_dim(1))
        .squeeze_dim(1)
}
