//! What the passes of the fused likelihood are given.

use super::chunk::ChunkSize;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, TensorMetadata};
use cadft_kernels::{LogitOptions, MatmulKernels, cast};

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
    /// How logits are made, and how many.
    pub(crate) logits: Logits,
}

/// How logits are made of the products, and how many are held at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Logits {
    /// Products `z` become `cap · tanh(z / cap)`.
    pub(crate) softcap: Option<f32>,
    /// Size of the part of the logits that is held at a time.
    pub(crate) chunk: ChunkSize,
}

impl Logits {
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    pub(super) fn new(options: LogitOptions, chunk: ChunkSize) -> Self {
        Self {
            softcap: options.softcap.map(|cap| cap as f32),
            chunk,
        }
    }
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
    /// How those of the policy are made, and how many of each are held.
    pub(crate) logits: Logits,
    /// The soft-cap of the reference.
    pub(crate) reference_softcap: Option<f32>,
}

impl<B: MatmulKernels> Compared<B> {
    /// Hidden states and weight of the policy, then of the reference, whose factors are multiplied in the policy's number format.
    pub(super) fn new(
        [hidden, weight, reference_hidden, reference_weight]: [FloatTensor<B>; 4],
        [policy, reference]: [LogitOptions; 2],
        chunk: ChunkSize,
    ) -> Self {
        let precision = policy.precision;
        let factors = |hidden, weight| {
            let hidden = precision.factor::<B>(hidden);
            let weight = cast::<B>(weight, hidden.dtype());
            (hidden, weight)
        };
        let (hidden, weight) = factors(hidden, weight);
        let (reference_hidden, reference_weight) = factors(reference_hidden, reference_weight);
        Self {
            hidden,
            weight,
            reference_hidden,
            reference_weight,
            logits: Logits::new(policy, chunk),
            reference_softcap: Logits::new(reference, chunk).softcap,
        }
    }
}
