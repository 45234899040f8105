//! How far the next-token distributions are from those of a reference: `KL(q‖p)` at every position, a chunk of rows at a
//! time.
//!
//! ```text
//! KL_t = Σ_v q_v · (log q_v − log p_v),   p = softmax(W h_t),  q = softmax(W' h'_t)
//! ∂KL_t/∂logits_t = p − q                                                                  (ASFT-2)
//! ```

use super::backend::{Wanted, column, rows};
use super::chunk::{ChunkSize, chunks};
use super::statistic::log_softmax;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;
use cadft_matmul::{MatmulKernels, Precision, backend_matmul, cast};

/// Hidden states `[tokens, hidden]` and the output weight `[vocab, hidden]` that makes logits of them.
#[derive(Clone, Debug)]
pub(super) struct Projection<B: Backend> {
    /// `[tokens, hidden]`.
    pub hidden: FloatTensor<B>,
    /// `[vocab, hidden]`.
    pub weight: FloatTensor<B>,
}

impl<B: MatmulKernels> Projection<B> {
    /// The factors in the number format in which they are multiplied.
    pub(super) fn factors(self, precision: Precision) -> Self {
        let hidden = precision.factor::<B>(self.hidden);
        let weight = cast::<B>(self.weight, hidden.dtype());
        Self { hidden, weight }
    }

    /// `log softmax` of rows `start..end`, `[rows, vocab]`.
    fn log_probs(&self, start: usize, end: usize) -> FloatTensor<B> {
        let weight_t = B::float_transpose(self.weight.clone());
        log_softmax::<B>(backend_matmul::<B>(rows::<B>(&self.hidden, start, end), weight_t))
    }

    /// Ranges of rows that are held at a time.
    fn chunks(&self, chunk: ChunkSize) -> impl Iterator<Item = (usize, usize)> {
        chunks(self.hidden.shape()[0], chunk.rows(self.weight.shape()[0]))
    }
}

/// `KL(reference‖policy)` of every row, `[tokens]`; both hold factors.
pub(super) fn portable_divergence<B: MatmulKernels>(
    policy: &Projection<B>,
    reference: &Projection<B>,
    chunk: ChunkSize,
) -> FloatTensor<B> {
    let parts = policy.chunks(chunk).map(|(start, end)| {
        let log_q = reference.log_probs(start, end);
        let log_ratio = B::float_sub(log_q.clone(), policy.log_probs(start, end));
        let terms = B::float_mul(B::float_exp(log_q), log_ratio);
        B::float_reshape(B::float_sum_dim(terms, 1), Shape::new([end - start]))
    });
    B::float_cat(parts.collect(), 0)
}

/// Gradients of `Σ_t grad_t · KL_t` with respect to the policy's hidden states and, where wanted, its weight.
pub(super) fn portable_divergence_backward<B: MatmulKernels>(
    policy: &Projection<B>,
    reference: &Projection<B>,
    grad: &FloatTensor<B>,
    chunk: ChunkSize,
    wanted: Wanted,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let mut d_hidden = vec![];
    let mut d_weight: Option<FloatTensor<B>> = None;
    for (start, end) in policy.chunks(chunk) {
        let p = B::float_exp(policy.log_probs(start, end));
        let q = B::float_exp(reference.log_probs(start, end));
        let d_logits = B::float_mul(B::float_sub(p, q), column::<B>(grad, start, end));
        let d_logits = cast::<B>(d_logits, policy.hidden.dtype());
        if wanted == Wanted::Both {
            let hidden = rows::<B>(&policy.hidden, start, end);
            let part = backend_matmul::<B>(B::float_transpose(d_logits.clone()), hidden);
            d_weight = Some(match d_weight {
                Some(sum) => B::float_add(sum, part),
                None => part,
            });
        }
        d_hidden.push(backend_matmul::<B>(d_logits, policy.weight.clone()));
    }
    (B::float_cat(d_hidden, 0), d_weight)
}
