//! The operations as Burn dispatches them to Flex, with and without autodiff.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};

use super::flex::{conv, rule};
use super::{DeltaInput, DeltaOptions, Segments};

/// The operations that have hand-written kernels. Shapes are as in the functions of [`super`].
#[backend_extension(Autodiff, Flex)]
pub(crate) trait DeltaOperations: Backend {
    /// The causal convolution and `SiLU`.
    fn causal_conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, segments: Segments) -> FloatTensor<Self>;

    /// The gated delta rule, from an empty memory.
    fn delta_rule(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        decay: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: DeltaOptions,
    ) -> FloatTensor<Self>;
}

impl DeltaOperations for Flex {
    fn causal_conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, segments: Segments) -> FloatTensor<Self> {
        conv::forward(x, weight, &segments)
    }

    fn delta_rule(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        decay: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: DeltaOptions,
    ) -> FloatTensor<Self> {
        rule::forward([query, key, value, decay, beta], &options)
    }
}

pub(super) fn causal_conv(x: Tensor<2>, weight: Tensor<2>, segments: Segments) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::causal_conv(
        x.into_dispatch(),
        weight.into_dispatch(),
        segments,
    ))
}

pub(super) fn delta_rule(input: DeltaInput) -> Tensor<2> {
    let (tensors, options) = input.into_parts();
    let [query, key, value, decay, beta] = tensors.map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::delta_rule(query, key, value, decay, beta, options))
}

/// See [`super::delta_rule_after`].
pub(super) fn delta_rule_after(input: DeltaInput, memory: Tensor<4>) -> (Tensor<2>, Tensor<4>) {
    let (device, shapes) = (memory.device(), (input.value.shape(), memory.shape()));
    let (tensors, (heads, segments)) = input.into_parts();
    let inputs = tensors.map(Tensor::into_data);
    let mut memory: Vec<f32> = memory.into_data().iter().collect();
    let slices = inputs
        .each_ref()
        .map(|data| data.as_slice::<f32>().expect("the inputs are f32"));
    let output = rule::outputs(slices, heads, &segments, &mut memory);
    let tensor = |values, shape| TensorData::new(values, shape);
    (
        Tensor::from_data(tensor(output, shapes.0), &device),
        Tensor::from_data(tensor(memory, shapes.1), &device),
    )
}
