//! Kernels on Flex: rayon over samples, heads and rows, and SIMD selected at run time. The order of every sum is that of the
//! tokens, whatever the number of threads.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::kernels::DeltaKernels;
use super::{DeltaOptions, Segments};

pub(super) mod conv;
pub(super) mod rule;

impl DeltaKernels for Flex {
    fn causal_conv_gradients(
        [x, weight]: [FloatTensor<Self>; 2],
        grad: FloatTensor<Self>,
        segments: &Segments,
    ) -> [FloatTensor<Self>; 2] {
        conv::backward(x, weight, grad, segments)
    }

    fn delta_rule_gradients(
        inputs: [FloatTensor<Self>; 5],
        grad: FloatTensor<Self>,
        options: &DeltaOptions,
    ) -> [FloatTensor<Self>; 5] {
        rule::backward(inputs, grad, options)
    }
}
