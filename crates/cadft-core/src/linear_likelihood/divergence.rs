//! How far the next-token distributions are from those of a reference: `KL(q‖p)` at every position, a chunk of rows at a
//! time.
//!
//! ```text
//! KL_t = Σ_v q_v · (log q_v − log p_v),   p = softmax(W h_t),  q = softmax(W' h'_t)
//! ∂KL_t/∂logits_t = p − q                                                                  (ASFT-2)
//! ```

use super::backend::{Wanted, add_product, column, rows};
use super::chunk::{ChunkSize, chunks};
use super::statistic::log_softmax;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, TensorMetadata};
use burn::tensor::Shape;
use cadft_matmul::{MatmulKernels, Precision, backend_matmul, cast};

/// Hidden states `[tokens, hidden]` and output weights `[vocab, hidden]` of a policy and of a reference, whose hidden size
/// may be another.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub struct Compared<B: Backend> {
    /// Of the policy.
    pub hidden: FloatTensor<B>,
    /// Of the policy.
    pub weight: FloatTensor<B>,
    /// Of the reference.
    pub reference_hidden: FloatTensor<B>,
    /// Of the reference.
    pub reference_weight: FloatTensor<B>,
    /// Size of the part of the logits that is held at a time.
    pub chunk: ChunkSize,
}

impl<B: MatmulKernels> Compared<B> {
    /// The factors in the number format in which they are multiplied.
    pub(super) fn factors(self, precision: Precision) -> Self {
        let factors = |hidden, weight| {
            let hidden = precision.factor::<B>(hidden);
            let weight = cast::<B>(weight, hidden.dtype());
            (hidden, weight)
        };
        let (hidden, weight) = factors(self.hidden, self.weight);
        let (reference_hidden, reference_weight) = factors(self.reference_hidden, self.reference_weight);
        Self {
            hidden,
            weight,
            reference_hidden,
            reference_weight,
            chunk: self.chunk,
        }
    }

    /// `log p` and `log q` of rows `start..end`, `[rows, vocab]`.
    fn log_probs(&self, start: usize, end: usize) -> [FloatTensor<B>; 2] {
        let of = |hidden: &FloatTensor<B>, weight: &FloatTensor<B>| {
            let weight_t = B::float_transpose(weight.clone());
            log_softmax::<B>(backend_matmul::<B>(rows::<B>(hidden, start, end), weight_t))
        };
        [
            of(&self.hidden, &self.weight),
            of(&self.reference_hidden, &self.reference_weight),
        ]
    }

    /// Ranges of rows that are held at a time.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        chunks(self.hidden.shape()[0], self.chunk.rows(self.weight.shape()[0]))
    }
}

/// `KL(reference‖policy)` of every row, `[tokens]`.
pub(super) fn portable_divergence<B: MatmulKernels>(compared: &Compared<B>) -> FloatTensor<B> {
    let parts = compared.chunks().map(|(start, end)| {
        let [log_p, log_q] = compared.log_probs(start, end);
        let terms = B::float_mul(B::float_exp(log_q.clone()), B::float_sub(log_q, log_p));
        B::float_reshape(B::float_sum_dim(terms, 1), Shape::new([end - start]))
    });
    B::float_cat(parts.collect(), 0)
}

/// Gradients of `Σ_t grad_t · KL_t` with respect to the policy's hidden states and, where wanted, its weight.
pub(super) fn portable_divergence_backward<B: MatmulKernels>(
    compared: &Compared<B>,
    grad: &FloatTensor<B>,
    wanted: Wanted,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let mut d_hidden = vec![];
    let mut d_weight: Option<FloatTensor<B>> = None;
    for (start, end) in compared.chunks() {
        let [p, q] = compared.log_probs(start, end).map(B::float_exp);
        let d_logits = B::float_mul(B::float_sub(p, q), column::<B>(grad, start, end));
        let d_logits = cast::<B>(d_logits, compared.hidden.dtype());
        if wanted == Wanted::Both {
            let hidden = rows::<B>(&compared.hidden, start, end);
            d_weight = Some(add_product::<B>(d_weight, d_logits.clone(), hidden));
        }
        d_hidden.push(backend_matmul::<B>(d_logits, compared.weight.clone()));
    }
    (B::float_cat(d_hidden, 0), d_weight)
}
