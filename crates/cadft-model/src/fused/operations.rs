//! The operations as Burn dispatches them to backends with kernels, with and without autodiff.

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{Int, Shape, Tensor};

use cadft_kernels::Precision;

use super::kernels::DecoderKernels;
use super::{Activation, AttentionInput, AttentionOptions, Rotation};

/// The operations that have hand-written kernels.
///
/// Shapes are as in [`super::AttentionInput`] and the functions of [`super`].
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"))]
pub(crate) trait DecoderOperations: Backend {
    /// `x Wᵀ`.
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Selects the rows of a matrix by index.
    fn select_rows(x: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        Self::float_select(x, 0, ids)
    }
    /// `x + b`, with the same `b` for every row of `x`.
    fn add_bias(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let row = Shape::new([1, bias.shape()[0]]);
        Self::float_add(x, Self::float_reshape(bias, row))
    }
    /// Root-mean-square norm.
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;
    /// `activation(gate) · up`, in the dtype of `precision`.
    fn gated(
        activation: Activation,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// Rotation and causal attention.
    fn causal_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> FloatTensor<Self>;
}

macro_rules! route {
    ($backend:ty) => {
        impl DecoderOperations for $backend {
            fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::linear_forward(x, weight)
            }

            fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
                Self::rms_norm_forward(x, weight, epsilon).0
            }

            fn gated(
                activation: Activation,
                gate: FloatTensor<Self>,
                up: FloatTensor<Self>,
                precision: Precision,
            ) -> FloatTensor<Self> {
                Self::gated_forward(activation, gate, up, precision)
            }

            fn causal_attention(
                query: FloatTensor<Self>,
                key: FloatTensor<Self>,
                value: FloatTensor<Self>,
                cos: FloatTensor<Self>,
                sin: FloatTensor<Self>,
                options: AttentionOptions,
            ) -> FloatTensor<Self> {
                Self::attention_forward(query, key, value, cos, sin, options).0
            }
        }
    };
}

#[cfg(feature = "flex")]
route!(Flex);

#[cfg(feature = "cube")]
route!(Cube);

pub(super) fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight.into_dispatch()))
}

pub(super) fn select_rows(x: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::select_rows(x.into_dispatch(), ids.into_dispatch()))
}

pub(super) fn add_bias(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::add_bias(x.into_dispatch(), bias.into_dispatch()))
}

pub(super) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::rms_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        epsilon,
    ))
}

pub(super) fn gated(
    activation: Activation,
    gate: Tensor<3>,
    up: Tensor<3>,
    precision: Precision,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::gated(
        activation,
        gate.into_dispatch(),
        up.into_dispatch(),
        precision,
    ))
}

pub(super) fn causal_attention(input: AttentionInput) -> Tensor<3> {
    let AttentionInput {
        query,
        key,
        value,
        rotation,
        options,
    } = input;
    // No rotation is expressed by tables with zero pairs.
    let Rotation { cos, sin } = rotation.unwrap_or_else(|| {
        let empty = Tensor::zeros([1, 1, 0], &query.device());
        Rotation {
            cos: empty.clone(),
            sin: empty,
        }
    });
    Tensor::from_dispatch(Dispatch::causal_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
        options,
    ))
}
