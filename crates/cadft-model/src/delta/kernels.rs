//! The backward passes that a backend implements by hand.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::{DeltaOptions, Segments};

/// The gradients of the operations, on a backend without autodiff.
pub(crate) trait DeltaKernels: Backend {
    /// The gradients of `x` and the weight.
    fn causal_conv_gradients(
        inputs: [FloatTensor<Self>; 2],
        grad: FloatTensor<Self>,
        segments: &Segments,
    ) -> [FloatTensor<Self>; 2];

    /// The gradients of the five inputs.
    fn delta_rule_gradients(
        inputs: [FloatTensor<Self>; 5],
        grad: FloatTensor<Self>,
        options: &DeltaOptions,
    ) -> [FloatTensor<Self>; 5];
}
