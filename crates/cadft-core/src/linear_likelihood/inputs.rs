//! Inputs of the passes of the fused likelihood.

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
    /// How logits are computed, and how many at a time.
    pub(crate) logits: Logits,
}

/// How logits are computed from the products, and how many are in memory at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Logits {
    /// Maps products `z` to `cap · tanh(z / cap)`.
    pub(crate) softcap: Option<f32>,
    /// Size of the chunk of logits in memory.
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

/// Which gradients a backward pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The gradient with respect to `hidden`.
    Hidden,
    /// The gradients with respect to `hidden` and `weight`.
    Both,
}

/// Hidden states `[tokens, hidden]` and output weights `[vocab, hidden]` of a policy and of a reference. The hidden
/// sizes may differ.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct Compared<B: Backend> {
    /// Hidden states of the policy.
    pub(crate) hidden: FloatTensor<B>,
    /// Output weight of the policy.
    pub(crate) weight: FloatTensor<B>,
    /// Hidden states of the reference.
    pub(crate) reference_hidden: FloatTensor<B>,
    /// Output weight of the reference.
    pub(crate) reference_weight: FloatTensor<B>,
    /// How the policy's logits are computed; the chunk size is for both.
    pub(crate) logits: Logits,
    /// The soft-cap of the reference.
    pub(crate) reference_softcap: Option<f32>,
}

impl<B: MatmulKernels> Compared<B> {
    /// Takes hidden states and weight of the policy, then of the reference. All factors get the policy's number format.
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
