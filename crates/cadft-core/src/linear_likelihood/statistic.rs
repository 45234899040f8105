//! What else an objective may ask about the next-token distribution at a position.

use super::backend::log_sum_exp;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};

/// One number about the distribution `p = softmax(logits)` at a position, without gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// `H = −Σ_v p_v·log p_v`, in nats.
    Entropy,
    /// The entropy of the `k` most likely tokens alone, their probabilities made to add up to 1, in nats.
    TopEntropy {
        /// How many; all of a smaller vocabulary.
        k: usize,
    },
    /// `Σ_v p_v²`, the probability that two draws agree.
    Collision,
}

/// The statistic of every row of `logits`, `[rows, vocab]` to `[rows, 1]`.
pub(super) fn portable_statistic<B: Backend>(statistic: Statistic, logits: FloatTensor<B>) -> FloatTensor<B> {
    match statistic {
        Statistic::Entropy => entropy::<B>(logits),
        Statistic::TopEntropy { k } => {
            let k = k.min(logits.shape()[1]);
            entropy::<B>(B::float_topk(logits, 1, k))
        }
        Statistic::Collision => {
            let probs = B::float_exp(log_softmax::<B>(logits));
            B::float_sum_dim(B::float_mul(probs.clone(), probs), 1)
        }
    }
}

/// `−Σ p·log p` of every row; finite for logits of any size.
fn entropy<B: Backend>(logits: FloatTensor<B>) -> FloatTensor<B> {
    let log_probs = log_softmax::<B>(logits);
    let terms = B::float_mul(B::float_exp(log_probs.clone()), log_probs);
    B::float_neg(B::float_sum_dim(terms, 1))
}

/// `log p` of every value of every row.
pub(super) fn log_softmax<B: Backend>(logits: FloatTensor<B>) -> FloatTensor<B> {
    let sums = log_sum_exp::<B>(&logits);
    B::float_sub(logits, sums)
}
