//! What the passes of the fused likelihood are given.

use super::chunk::ChunkSize;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, TensorMetadata};
use cadft_kernels::{MatmulKernels, Precision, cast};

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct Saved<B: Backend> {
    /// `[tokens, hidden]`, f32 or bf16.
    pub(crate) hidden: FloatTensor<B>,
    /// `[vocab, hidden]`.
    pub(crate) weight: FloatTensor<B>,
    /// `[tokens]`.
    pub(crate) targets: IntTensor<B>,
    /// `[tokens]`, f32.
    pub(crate) log_sum_exp: FloatTensor<B>,
    /// Size of the part of the logits that is held at a time.
    pub(crate) chunk: ChunkSize,
}

/// Which gradients a backward pass makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The gradient with respect to `hidden`.
    Hidden,
    /// That and the gradient with respect to `weight`.
    Both,
}

/// Hidden states `[tokens, hidden]` and output weights `[vocab, hidden]` of a policy and of a reference, whose hidden size
/// may be another.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct Compared<B: Backend> {
    /// Of the policy.
    pub(crate) hidden: FloatTensor<B>,
    /// Of the policy.
    pub(crate) weight: FloatTensor<B>,
    /// Of the reference.
    pub(crate) reference_hidden: FloatTensor<B>,
    /// Of the reference.
    pub(crate) reference_weight: FloatTensor<B>,
    /// Size of the part of the logits that is held at a time.
    pub(crate) chunk: ChunkSize,
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
}
