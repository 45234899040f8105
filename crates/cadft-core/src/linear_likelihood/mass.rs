//! The probability of all tokens that are at most as likely as the target.
//!
//! ```text
//! mass_t = Σ_{v: p_v ≤ p_y} p_v                                                  (PRIFT-2)
//! ```

use super::{ChunkSize, check_shapes};
use burn::tensor::{DType, Int, Tensor};
use cadft_kernels::{LogitOptions, Precision, bf16_linear, matmul};

/// The probability, together, of all tokens at most as likely as the target at each position, the target among them; holds one chunk
/// of logits at a time and carries no gradient.
///
/// # Shapes
/// `hidden` `[tokens, hidden]`, `weight` `[vocab, hidden]`, `targets` `[tokens]`, output `[tokens]`, f32; all off the autodiff graph.
///
/// # Panics
/// If there are no tokens or the shapes disagree.
#[must_use]
pub fn linear_mass_below(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: impl Into<LogitOptions>,
) -> Tensor<1> {
    check_shapes(&hidden, &weight);
    let LogitOptions { precision, softcap } = options.into();
    let ([tokens, _], [vocab, _]) = (hidden.dims(), weight.dims());
    let weight = match precision {
        Precision::F32 => weight,
        Precision::Bf16 => weight.cast(DType::BF16), // once for all chunks
    };
    let rows = ChunkSize::Auto.rows(vocab).min(tokens);
    let chunks = hidden.split(rows, 0).into_iter().zip(targets.split(rows, 0));
    let parts = chunks.map(|(hidden, targets)| {
        let logits = match precision {
            Precision::F32 => matmul(hidden, weight.clone().transpose()),
            Precision::Bf16 => bf16_linear(hidden, weight.clone()),
        }; // [rows, vocab]
        let logits = match softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        };
        let largest = logits.clone().max_dim(1); // [rows, 1]
        let of_target = logits.clone().gather(1, targets.unsqueeze_dim(1)); // [rows, 1]
        let powers = (logits.clone() - largest).exp(); // [rows, vocab]
        // Of logits, not of powers: those of different tokens may both be 0.
        let is_above = logits.greater(of_target);
        let below = powers.clone().mask_fill(is_above, 0.0);
        (below.sum_dim(1) / powers.sum_dim(1)).squeeze_dim(1)
    });
    Tensor::cat(parts.collect(), 0)
}
