//! Backend operations behind [`linear_log_probs`](super::linear_log_probs), with portable bodies.
//!
//! [`LikelihoodKernels`] holds the raw passes: the default bodies are written in tensor operations and run on
//! every backend; a backend with something faster overrides them. [`CadftBackend`] is the one operation that
//! the runtime dispatch routes, differentiable under `Autodiff`.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

use super::chunk::{ChunkSize, chunks};
use super::divergence::{Compared, portable_divergence, portable_divergence_backward};
use super::statistic::{Statistic, portable_statistic};
#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, TensorMetadata, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::DType;
use burn::tensor::{IndexingUpdateOp, Shape, Slice};
use cadft_matmul::{MatmulKernels, Precision, backend_matmul, cast};

/// The passes of the fused likelihood on a plain (not differentiated) backend.
///
/// Everywhere: `hidden` is `[tokens, hidden]`, in the number format in which all factors are multiplied, f32 or bf16;
/// `weight` is `[vocab, hidden]`, and rounded where that is bf16; `targets` is `[tokens]`. No tensor of `[tokens, vocab]`
/// is ever made, only a part of bounded size at a time. Under fusion each pass is one operation.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub trait LikelihoodKernels: Backend + MatmulKernels {
    /// `(log_probs, log_sum_exp)`, each `[tokens]` in f32.
    #[fusion(meta = |hidden, _, _, _| (per_token(hidden), per_token(hidden)))]
    fn likelihood_forward(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        chunk: ChunkSize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable_forward::<Self>(&hidden, weight, &targets, chunk)
    }

    /// A statistic of the distribution at each position, `[tokens]` in f32.
    #[fusion(meta = |hidden, _, _, _| per_token(hidden))]
    fn likelihood_statistic(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        statistic: Statistic,
        chunk: ChunkSize,
    ) -> FloatTensor<Self> {
        portable_statistics::<Self>(&hidden, weight, statistic, chunk)
    }

    /// Gradients of `Σ_t grad_t · log_probs_t` with respect to `hidden` and `weight`, in f32.
    ///
    /// The logits are computed again, part by part: `∂ log p_t/∂ logits = onehot(y_t) − softmax(logits)` (OBJ-2).
    #[fusion(meta = |saved, _| (gradient(&saved.hidden), gradient(&saved.weight)))]
    fn likelihood_backward(
        #[extension_type] saved: Saved<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (d_hidden, d_weight) = portable_backward::<Self>(saved, &grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    /// The gradient with respect to `hidden` alone, for a weight that is not trained.
    #[fusion(meta = |saved, _| gradient(&saved.hidden))]
    fn likelihood_backward_hidden(
        #[extension_type] saved: Saved<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable_backward::<Self>(saved, &grad, Wanted::Hidden).0
    }

    /// `KL(reference‖policy)` at each position, `[tokens]` in f32, of factors.
    #[fusion(meta = |compared| per_token(&compared.hidden))]
    fn divergence_forward(#[extension_type] compared: Compared<Self>) -> FloatTensor<Self> {
        portable_divergence::<Self>(&compared)
    }

    /// Gradients of `Σ_t grad_t · KL_t` with respect to the policy's `hidden` and `weight`, in f32 (ASFT-2).
    #[fusion(meta = |compared, _| (gradient(&compared.hidden), gradient(&compared.weight)))]
    fn divergence_backward(
        #[extension_type] compared: Compared<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (d_hidden, d_weight) = portable_divergence_backward::<Self>(&compared, &grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    /// The gradient with respect to `hidden` alone, for a weight that is not trained.
    #[fusion(meta = |compared, _| gradient(&compared.hidden))]
    fn divergence_backward_hidden(
        #[extension_type] compared: Compared<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable_divergence_backward::<Self>(&compared, &grad, Wanted::Hidden).0
    }
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub struct Saved<B: Backend> {
    /// `[tokens, hidden]`, f32 or bf16.
    pub hidden: FloatTensor<B>,
    /// `[vocab, hidden]`.
    pub weight: FloatTensor<B>,
    /// `[tokens]`.
    pub targets: IntTensor<B>,
    /// `[tokens]`, f32.
    pub log_sum_exp: FloatTensor<B>,
    /// Size of the part of the logits that is held at a time.
    pub chunk: ChunkSize,
}

/// Which gradients a backward pass makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The gradient with respect to `hidden`.
    Hidden,
    /// That and the gradient with respect to `weight`.
    Both,
}

/// One f32 for each row of `hidden`.
#[cfg(feature = "fusion")]
fn per_token(hidden: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([hidden.shape[0]]), DType::F32)
}

/// An f32 for each value.
#[cfg(feature = "fusion")]
fn gradient(of: &TensorSpec) -> TensorSpec {
    TensorSpec::new(of.shape.clone(), DType::F32)
}

/// The operations cadft adds to every Burn backend.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube")
)]
pub trait CadftBackend: Backend {
    /// Log-likelihood of `targets` under `softmax(hidden · weightᵀ)`: `[tokens]`, f32.
    fn linear_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        precision: Precision,
        chunk: ChunkSize,
    ) -> FloatTensor<Self>;

    /// A statistic of `softmax(hidden · weightᵀ)` at every position: `[tokens]`, f32, never differentiated.
    fn linear_statistic(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        statistic: Statistic,
        precision: Precision,
        chunk: ChunkSize,
    ) -> FloatTensor<Self>;

    /// `KL(softmax(reference_hidden · reference_weightᵀ)‖softmax(hidden · weightᵀ))` at every position: `[tokens]`, f32,
    /// never differentiated with respect to the reference.
    fn linear_divergence(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reference_hidden: FloatTensor<Self>,
        reference_weight: FloatTensor<Self>,
        precision: Precision,
        chunk: ChunkSize,
    ) -> FloatTensor<Self>;
}

macro_rules! route {
    ($(#[$cfg:meta])* $backend:ty) => {
        $(#[$cfg])*
        impl CadftBackend for $backend {
            fn linear_log_probs(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                targets: IntTensor<Self>,
                precision: Precision,
                chunk: ChunkSize,
            ) -> FloatTensor<Self> {
                let hidden = precision.factor::<Self>(hidden);
                Self::likelihood_forward(hidden, weight, targets, chunk).0
            }

            fn linear_statistic(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                statistic: Statistic,
                precision: Precision,
                chunk: ChunkSize,
            ) -> FloatTensor<Self> {
                let hidden = precision.factor::<Self>(hidden);
                Self::likelihood_statistic(hidden, weight, statistic, chunk)
            }

            fn linear_divergence(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                reference_hidden: FloatTensor<Self>,
                reference_weight: FloatTensor<Self>,
                precision: Precision,
                chunk: ChunkSize,
            ) -> FloatTensor<Self> {
                let compared = Compared {
                    hidden,
                    weight,
                    reference_hidden,
                    reference_weight,
                    chunk,
                };
                Self::divergence_forward(compared.factors(precision))
            }
        }
    };
}

route!(
    #[cfg(feature = "flex")]
    Flex
);

#[cfg(feature = "ndarray")]
mod ndarray {
    use super::*;
    impl LikelihoodKernels for NdArray {}
    route!(NdArray);
}

#[cfg(feature = "cube")]
mod cube {
    use super::*;
    route!(Cube);
}

/// Logits of rows `start..end`, `[rows, vocab]`, f32.
fn chunk_logits<B: MatmulKernels>(
    hidden: &FloatTensor<B>,
    weight_t: &FloatTensor<B>,
    (start, end): (usize, usize),
) -> FloatTensor<B> {
    backend_matmul::<B>(rows::<B>(hidden, start, end), weight_t.clone())
}

/// `log Σ_v exp(logits_v)` of every row, `[rows, 1]`.
pub(super) fn log_sum_exp<B: Backend>(logits: &FloatTensor<B>) -> FloatTensor<B> {
    let max = B::float_max_dim(logits.clone(), 1);
    let exp = B::float_exp(B::float_sub(logits.clone(), max.clone()));
    B::float_add(B::float_log(B::float_sum_dim(exp, 1)), max)
}

/// The portable forward pass, also the oracle of the specialised ones.
pub fn portable_forward<B: MatmulKernels>(
    hidden: &FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: &IntTensor<B>,
    chunk: ChunkSize,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let tokens = hidden.shape()[0];
    let vocab = weight.shape()[0];
    let weight_t = B::float_transpose(cast::<B>(weight, hidden.dtype()));
    let (mut log_probs, mut sums) = (vec![], vec![]);
    for (start, end) in chunks(tokens, chunk.rows(vocab)) {
        let logits = chunk_logits::<B>(hidden, &weight_t, (start, end));
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

/// The portable backward pass, also the oracle of the specialised ones.
pub fn portable_backward<B: MatmulKernels>(
    saved: Saved<B>,
    grad: &FloatTensor<B>,
    wanted: Wanted,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let Saved {
        hidden,
        weight,
        targets,
        log_sum_exp,
        chunk,
    } = saved;
    let tokens = hidden.shape()[0];
    let vocab = weight.shape()[0];
    let dtype = hidden.dtype();
    let weight = cast::<B>(weight, dtype);
    let weight_t = B::float_transpose(weight.clone());
    let mut d_hidden = vec![];
    let mut d_weight: Option<FloatTensor<B>> = None;
    for (start, end) in chunks(tokens, chunk.rows(vocab)) {
        let logits = chunk_logits::<B>(&hidden, &weight_t, (start, end));
        let probs = B::float_exp(B::float_sub(logits, column::<B>(&log_sum_exp, start, end)));
        let grad = column::<B>(grad, start, end);
        // d_logits = grad · (onehot − softmax), [rows, vocab].
        let d_logits = B::float_mul(B::float_neg(probs), grad.clone());
        let targets = target_column::<B>(&targets, start, end);
        let d_logits = B::float_scatter(1, d_logits, targets, grad, IndexingUpdateOp::Add);
        let d_logits = cast::<B>(d_logits, dtype);
        if wanted == Wanted::Both {
            let hidden = rows::<B>(&hidden, start, end);
            d_weight = Some(add_product::<B>(d_weight, d_logits.clone(), hidden));
        }
        d_hidden.push(backend_matmul::<B>(d_logits, weight.clone()));
    }
    (B::float_cat(d_hidden, 0), d_weight)
}

/// The portable statistic of every row.
pub fn portable_statistics<B: MatmulKernels>(
    hidden: &FloatTensor<B>,
    weight: FloatTensor<B>,
    statistic: Statistic,
    chunk: ChunkSize,
) -> FloatTensor<B> {
    let tokens = hidden.shape()[0];
    let vocab = weight.shape()[0];
    let weight_t = B::float_transpose(cast::<B>(weight, hidden.dtype()));
    let parts = chunks(tokens, chunk.rows(vocab)).map(|(start, end)| {
        let logits = chunk_logits::<B>(hidden, &weight_t, (start, end));
        let values = portable_statistic::<B>(statistic, logits);
        B::float_reshape(values, Shape::new([end - start]))
    });
    B::float_cat(parts.collect(), 0)
}

/// The gradient of the weight with that of these rows, `d_logitsᵀ · hidden`, added.
pub(super) fn add_product<B: MatmulKernels>(
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
pub(super) fn rows<B: Backend>(x: &FloatTensor<B>, start: usize, end: usize) -> FloatTensor<B> {
    let cols = x.shape()[1];
    B::float_slice(x.clone(), &[Slice::from(start..end), Slice::from(0..cols)])
}

/// Elements `start..end` of a vector as a column, `[end - start, 1]`.
pub(super) fn column<B: Backend>(x: &FloatTensor<B>, start: usize, end: usize) -> FloatTensor<B> {
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
