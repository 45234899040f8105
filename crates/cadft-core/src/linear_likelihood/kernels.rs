//! The passes of the fused likelihood on a plain backend. The default bodies are portable; backends override them with
//! faster kernels.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

use super::inputs::{Compared, Logits, Saved, Wanted};
use super::portable;
use super::statistic::Statistic;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::{DType, Shape};
use cadft_kernels::MatmulKernels;

/// The passes of the fused likelihood on a plain (not differentiated) backend.
///
/// In all methods: `hidden` is `[tokens, hidden]`, f32 or bf16; its dtype is that of all factors of products. `weight`
/// is `[vocab, hidden]`, and is rounded if `hidden` is bf16. `targets` is `[tokens]`. No method creates a
/// `[tokens, vocab]` tensor, only chunks of bounded size. Under fusion each pass is one operation.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub(crate) trait LikelihoodKernels: Backend + MatmulKernels {
    /// `(log_probs, log_sum_exp)`, each `[tokens]` in f32.
    #[fusion(meta = |hidden, _, _, _| (per_token(hidden), per_token(hidden)))]
    fn likelihood_forward(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        logits: Logits,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::forward::<Self>(&hidden, weight, &targets, logits)
    }

    /// A statistic of the distribution at each position, `[tokens]` in f32.
    #[fusion(meta = |hidden, _, _, _| per_token(hidden))]
    fn likelihood_statistic(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        statistic: Statistic,
        logits: Logits,
    ) -> FloatTensor<Self> {
        portable::statistics::<Self>(&hidden, weight, statistic, logits)
    }

    /// Gradients of `Σ_t grad_t · log_probs_t` with respect to `hidden` and `weight`, in f32.
    ///
    /// The logits are computed again, chunk by chunk: `∂ log p_t/∂ logits = onehot(y_t) − softmax(logits)` (OBJ-2).
    #[fusion(meta = |saved, _| (gradient(&saved.hidden), gradient(&saved.weight)))]
    fn likelihood_backward(
        #[extension_type] saved: Saved<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (d_hidden, d_weight) = portable::backward::<Self>(saved, &grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    /// The gradient with respect to `hidden` alone, for a frozen weight.
    #[fusion(meta = |saved, _| gradient(&saved.hidden))]
    fn likelihood_backward_hidden(
        #[extension_type] saved: Saved<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::backward::<Self>(saved, &grad, Wanted::Hidden).0
    }

    /// `KL(reference‖policy)` at each position, `[tokens]` in f32.
    #[fusion(meta = |compared| per_token(&compared.hidden))]
    fn divergence_forward(#[extension_type] compared: Compared<Self>) -> FloatTensor<Self> {
        portable::divergence::<Self>(&compared)
    }

    /// Gradients of `Σ_t grad_t · KL_t` with respect to the policy's `hidden` and `weight`, in f32 (ASFT-2).
    #[fusion(meta = |compared, _| (gradient(&compared.hidden), gradient(&compared.weight)))]
    fn divergence_backward(
        #[extension_type] compared: Compared<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (d_hidden, d_weight) = portable::divergence_backward::<Self>(&compared, &grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    /// The gradient with respect to `hidden` alone, for a frozen weight.
    #[fusion(meta = |compared, _| gradient(&compared.hidden))]
    fn divergence_backward_hidden(
        #[extension_type] compared: Compared<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::divergence_backward::<Self>(&compared, &grad, Wanted::Hidden).0
    }
}

#[cfg(feature = "ndarray")]
impl LikelihoodKernels for NdArray {}

/// The output type with one f32 for each row of `hidden`.
#[cfg(feature = "fusion")]
fn per_token(hidden: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([hidden.shape[0]]), DType::F32)
}

/// The type of a gradient: an f32 for each value of `of`.
#[cfg(feature = "fusion")]
fn gradient(of: &TensorSpec) -> TensorSpec {
    TensorSpec::new(of.shape.clone(), DType::F32)
}
