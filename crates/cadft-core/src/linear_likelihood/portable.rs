//! The passes of the fused likelihood in tensor operations, a chunk of rows at a time. They define the results, and are
//! the oracle for the kernels.
//!
//! ```text
//! KL_t = Σ_v q_v · (log q_v − log p_v),   p = softmax(W h_t),  q = softmax(W' h'_t)
//! ∂KL_t/∂logits_t = p − q                                                                  (ASFT-2)
//! ∂logits_t/∂z_t = 1 − (logits_t / cap)²   where logits_t = cap · tanh(z_t / cap),  z_t = W h_t
//! ```

use super::chunk::chunks;
use super::inputs::{Compared, Logits, Saved, Wanted};
use super::statistic::Statistic;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{IndexingUpdateOp, Shape, Slice};
use cadft_kernels::{MatmulKernels, backend_matmul, cast};

/// The forward pass: `(log_probs, log_sum_exp)`, each `[tokens]`.
pub(super) fn forward<B: MatmulKernels>(
    hidden: &FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: &IntTensor<B>,
    logits: Logits,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let tokens = hidden.shape()[0];
    let vocab = weight.shape()[0];
    let weight_t = B::float_transpose(cast::<B>(weight, hidden.dtype()));
    let (mut log_probs, mut sums) = (vec![], vec![]);
    for (start, end) in chunks(tokens, logits.chunk.rows(vocab)) {
        let logits = chunk_logits::<B>(hidden, &weight_t, (start, end), logits.softcap);
        let lse = log_sum_exp::<B>(&logits);
        let of_target = B::float_gather(1, logits, target_column::<B>(targets, start, end));
        let shape = Shape::new([end - start]);
        log_probs.push(B::float_reshape(
            B::float_sub(of_target, lse.clone()),
            shape.clone(),
        ));
        sums.push(B::float_reshape(lse, shape));
    }
    (B::float_cat(log_probs, 0), B::float_cat(sums, 0))
}

/// The backward pass: the gradient of `hidden`, and that of `weight` if it is wanted.
pub(super) fn backward<B: MatmulKernels>(
    saved: Saved<B>,
    grad: &FloatTensor<B>,
    wanted: Wanted,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let Saved {
        hidden,
        weight,
        targets,
        log_sum_exp,
        logits,
    } = saved;
    let tokens = hidden.shape()[0];
    let vocab = weight.shape()[0];
    let dtype = hidden.dtype();
    let weight = cast::<B>(weight, dtype);
    let weight_t = B::float_transpose(weight.clone());
    let mut d_hidden = vec![];
    let mut d_weight: Option<FloatTensor<B>> = None;
    for (start, end) in chunks(tokens, logits.chunk.rows(vocab)) {
        let softcap = logits.softcap;
        let logits = chunk_logits::<B>(&hidden, &weight_t, (start, end), softcap);
        let probs = B::float_exp(B::float_sub(
            logits.clone(),
            column::<B>(&log_sum_exp, start, end),
        ));
        let grad = column::<B>(grad, start, end);
        // d_logits = grad · (onehot − softmax), [rows, vocab].
        let d_logits = B::float_mul(B::float_neg(probs), grad.clone());
        let targets = target_column::<B>(&targets, start, end);
        let d_logits = B::float_scatter(1, d_logits, targets, grad, IndexingUpdateOp::Add);
        let d_logits = straightened::<B>(d_logits, logits, softcap);
        let d_logits = cast::<B>(d_logits, dtype);
        if wanted == Wanted::Both {
            let hidden = rows::<B>(&hidden, start, end);
            d_weight = Some(add_product::<B>(d_weight, d_logits.clone(), hidden));
        }
        d_hidden.push(backend_matmul::<B>(d_logits, weight.clone()));
    }
    (B::float_cat(d_hidden, 0), d_weight)
}

/// The statistic of every row, `[tokens]`.
pub(super) fn statistics<B: MatmulKernels>(
    hidden: &FloatTensor<B>,
    weight: FloatTensor<B>,
    statistic: Statistic,
    logits: Logits,
) -> FloatTensor<B> {
    let tokens = hidden.shape()[0];
    let vocab = weight.shape()[0];
    let weight_t = B::float_transpose(cast::<B>(weight, hidden.dtype()));
    let parts = chunks(tokens, logits.chunk.rows(vocab)).map(|(start, end)| {
        let logits = chunk_logits::<B>(hidden, &weight_t, (start, end), logits.softcap);
        let values = statistic_of::<B>(statistic, logits);
        B::float_reshape(values, Shape::new([end - start]))
    });
    B::float_cat(parts.collect(), 0)
}

/// `KL(reference‖policy)` of every row, `[tokens]`.
pub(super) fn divergence<B: MatmulKernels>(compared: &Compared<B>) -> FloatTensor<B> {
    let parts = compared.chunks().map(|(start, end)| {
        let [log_p, log_q] = compared.logits(start, end).map(log_softmax::<B>);
        let terms = B::float_mul(B::float_exp(log_q.clone()), B::float_sub(log_q, log_p));
        B::float_reshape(B::float_sum_dim(terms, 1), Shape::new([end - start]))
    });
    B::float_cat(parts.collect(), 0)
}

/// Gradients of `Σ_t grad_t · KL_t` with respect to the policy's hidden states and, if it is wanted, its weight.
pub(super) fn divergence_backward<B: MatmulKernels>(
    compared: &Compared<B>,
    grad: &FloatTensor<B>,
    wanted: Wanted,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let mut d_hidden = vec![];
    let mut d_weight: Option<FloatTensor<B>> = None;
    for (start, end) in compared.chunks() {
        let [logits, of_reference] = compared.logits(start, end);
        let [p, q] = [logits.clone(), of_reference].map(|logits| B::float_exp(log_softmax::<B>(logits)));
        let d_logits = B::float_mul(B::float_sub(p, q), column::<B>(grad, start, end));
        let d_logits = straightened::<B>(d_logits, logits, compared.logits.softcap);
        let d_logits = cast::<B>(d_logits, compared.hidden.dtype());
        if wanted == Wanted::Both {
            let hidden = rows::<B>(&compared.hidden, start, end);
            d_weight = Some(add_product::<B>(d_weight, d_logits.clone(), hidden));
        }
        d_hidden.push(backend_matmul::<B>(d_logits, compared.weight.clone()));
    }
    (B::float_cat(d_hidden, 0), d_weight)
}

impl<B: MatmulKernels> Compared<B> {
    /// Logits of rows `start..end`, the policy's and the reference's, each `[rows, vocab]`.
    fn logits(&self, start: usize, end: usize) -> [FloatTensor<B>; 2] {
        let of = |hidden: &FloatTensor<B>, weight: &FloatTensor<B>, softcap| {
            let weight_t = B::float_transpose(weight.clone());
            chunk_logits::<B>(hidden, &weight_t, (start, end), softcap)
        };
        [
            of(&self.hidden, &self.weight, self.logits.softcap),
            of(
                &self.reference_hidden,
                &self.reference_weight,
                self.reference_softcap,
            ),
        ]
    }

    /// Ranges of rows, one for each chunk.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        chunks(
            self.hidden.shape()[0],
            self.logits.chunk.rows(self.weight.shape()[0]),
        )
    }
}

/// The statistic of every row of `logits`, `[rows, vocab]` to `[rows, 1]`.
fn statistic_of<B: Backend>(statistic: Statistic, logits: FloatTensor<B>) -> FloatTensor<B> {
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
        Statistic::TopMass { k } => {
            let k = k.min(logits.shape()[1]);
            let sums = log_sum_exp::<B>(&logits);
            let largest = B::float_topk(logits, 1, k);
            B::float_sum_dim(B::float_exp(B::float_sub(largest, sums)), 1)
        }
    }
}

/// `−Σ p·log p` of every row; finite for finite logits of any size.
fn entropy<B: Backend>(logits: FloatTensor<B>) -> FloatTensor<B> {
    let log_probs = log_softmax::<B>(logits);
    let terms = B::float_mul(B::float_exp(log_probs.clone()), log_probs);
    B::float_neg(B::float_sum_dim(terms, 1))
}

/// `log p` of every value of every row.
fn log_softmax<B: Backend>(logits: FloatTensor<B>) -> FloatTensor<B> {
    let sums = log_sum_exp::<B>(&logits);
    B::float_sub(logits, sums)
}

/// Logits of rows `start..end`, `[rows, vocab]`, f32.
fn chunk_logits<B: MatmulKernels>(
    hidden: &FloatTensor<B>,
    weight_t: &FloatTensor<B>,
    (start, end): (usize, usize),
    softcap: Option<f32>,
) -> FloatTensor<B> {
    bent::<B>(
        backend_matmul::<B>(rows::<B>(hidden, start, end), weight_t.clone()),
        softcap,
    )
}

/// `cap · tanh(z / cap)`, or `z` if there is no cap.
pub(super) fn bent<B: Backend>(z: FloatTensor<B>, softcap: Option<f32>) -> FloatTensor<B> {
    match softcap {
        Some(cap) => {
            let z = B::float_div_scalar(z, cap.into());
            B::float_mul_scalar(B::float_tanh(z), cap.into())
        }
        None => z,
    }
}

/// The gradient of the input of [`bent`], from that of its output `logits`.
pub(super) fn straightened<B: Backend>(
    d_logits: FloatTensor<B>,
    logits: FloatTensor<B>,
    softcap: Option<f32>,
) -> FloatTensor<B> {
    match softcap {
        Some(cap) => {
            let tanh = B::float_div_scalar(logits, cap.into());
            let square = B::float_mul(tanh.clone(), tanh);
            B::float_sub(d_logits.clone(), B::float_mul(d_logits, square))
        }
        None => d_logits,
    }
}

/// `log Σ_v exp(logits_v)` of every row, `[rows, 1]`.
fn log_sum_exp<B: Backend>(logits: &FloatTensor<B>) -> FloatTensor<B> {
    let max = B::float_max_dim(logits.clone(), 1);
    let exp = B::float_exp(B::float_sub(logits.clone(), max.clone()));
    B::float_add(B::float_log(B::float_sum_dim(exp, 1)), max)
}

/// Adds these rows' share of the weight's gradient, `d_logitsᵀ · hidden`.
fn add_product<B: MatmulKernels>(
    sum: Option<FloatTensor<B>>,
    d_logits: FloatTensor<B>,
    hidden: FloatTensor<B>,
) -> FloatTensor<B> {
    let part = backend_matmul::<B>(B::float_transpose(d_logits), hidden);
    match sum {
        Some(sum) => B::float_add(sum, part),
        None => part,
    }
}

/// Rows `start..end` of a matrix.
fn rows<B: Backend>(x: &FloatTensor<B>, start: usize, end: usize) -> FloatTensor<B> {
    let cols = x.shape()[1];
    B::float_slice(x.clone(), &[Slice::from(start..end), Slice::from(0..cols)])
}

/// Elements `start..end` of a vector as a column, `[end - start, 1]`.
fn column<B: Backend>(x: &FloatTensor<B>, start: usize, end: usize) -> FloatTensor<B> {
    B::float_reshape(
        B::float_slice(x.clone(), &[Slice::from(start..end)]),
        Shape::new([end - start, 1]),
    )
}

fn target_column<B: Backend>(x: &IntTensor<B>, start: usize, end: usize) -> IntTensor<B> {
    B::int_reshape(
        B::int_slice(x.clone(), &[Slice::from(start..end)]),
        Shape::new([end - start, 1]),
    )
}
