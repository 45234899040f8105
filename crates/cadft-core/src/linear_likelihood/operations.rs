//! The operations of the fused likelihood as Burn dispatches them to backends, with and without autodiff.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

use super::chunk::ChunkSize;
use super::inputs::{Compared, Logits};
use super::kernels::LikelihoodKernels;
use super::statistic::Statistic;
#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use cadft_kernels::LogitOptions;

/// The operations of the fused likelihood.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube")
)]
pub(crate) trait LikelihoodOperations: Backend {
    /// Log-likelihood of `targets` under `softmax(hidden · weightᵀ)`: `[tokens]`, f32.
    fn linear_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: LogitOptions,
        chunk: ChunkSize,
    ) -> FloatTensor<Self>;

    /// A statistic of `softmax(hidden · weightᵀ)` at every position: `[tokens]`, f32, without gradient.
    fn linear_statistic(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        statistic: Statistic,
        options: LogitOptions,
        chunk: ChunkSize,
    ) -> FloatTensor<Self>;

    /// `KL(softmax(reference_hidden · reference_weightᵀ)‖softmax(hidden · weightᵀ))` at every position: `[tokens]`,
    /// f32. The reference gets no gradient.
    fn linear_divergence(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reference_hidden: FloatTensor<Self>,
        reference_weight: FloatTensor<Self>,
        options: [LogitOptions; 2],
        chunk: ChunkSize,
    ) -> FloatTensor<Self>;
}

macro_rules! route {
    ($backend:ty) => {
        impl LikelihoodOperations for $backend {
            fn linear_log_probs(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                targets: IntTensor<Self>,
                options: LogitOptions,
                chunk: ChunkSize,
            ) -> FloatTensor<Self> {
                let hidden = options.precision.factor::<Self>(hidden);
                Self::likelihood_forward(hidden, weight, targets, Logits::new(options, chunk)).0
            }

            fn linear_statistic(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                statistic: Statistic,
                options: LogitOptions,
                chunk: ChunkSize,
            ) -> FloatTensor<Self> {
                let hidden = options.precision.factor::<Self>(hidden);
                Self::likelihood_statistic(hidden, weight, statistic, Logits::new(options, chunk))
            }

            fn linear_divergence(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                reference_hidden: FloatTensor<Self>,
                reference_weight: FloatTensor<Self>,
                options: [LogitOptions; 2],
                chunk: ChunkSize,
            ) -> FloatTensor<Self> {
                let factors = [hidden, weight, reference_hidden, reference_weight];
                Self::divergence_forward(Compared::new(factors, options, chunk))
            }
        }
    };
}

#[cfg(feature = "flex")]
route!(Flex);

#[cfg(feature = "ndarray")]
route!(NdArray);

#[cfg(feature = "cube")]
route!(Cube);
