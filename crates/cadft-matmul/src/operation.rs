//! The products as operations of every backend, with their backward passes.
//!
//! ```text
//! y = a b          ∂a = ∂y bᵀ          ∂b = aᵀ ∂y
//! y = x Wᵀ         ∂x = ∂y W           ∂W = ∂yᵀ x          all factors rounded to bf16, ∂y too; all sums f32
//! ```

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, backend_extension};
use burn::tensor::DType;
use burn::tensor::FloatDType::F32;
#[cfg(feature = "fusion")]
use burn::tensor::Shape;

use crate::cast;

/// Products whose number format is not left to the backend.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub trait MatmulKernels: Backend {
    /// `lhs · rhs`; the backends with the default body have no TF32.
    #[fusion(meta = |lhs, rhs| product(lhs, rhs))]
    fn full_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(lhs, rhs)
    }

    /// `lhs · rhs` in f32, of factors in bf16.
    #[fusion(meta = |lhs, rhs| product(lhs, rhs))]
    fn wide_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(Self::float_cast(lhs, F32), Self::float_cast(rhs, F32))
    }

    /// `x Wᵀ` in f32, of factors that are rounded to bf16.
    #[fusion(meta = |x, weight| projection(x, weight))]
    fn bf16_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = cast::<Self>(weight, DType::BF16);
        Self::wide_matmul(cast::<Self>(x, DType::BF16), Self::float_transpose(weight))
    }

    /// `g W` in f32, of factors in bf16; `W` may be in f32, and is rounded.
    #[fusion(meta = |grad, weight| product(grad, weight))]
    fn bf16_input_gradient(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::wide_matmul(grad, cast::<Self>(weight, DType::BF16))
    }

    /// `gᵀ x` in f32, of factors in bf16.
    #[fusion(meta = |grad, x| TensorSpec::new(Shape::new([grad.shape[1], x.shape[1]]), DType::F32))]
    fn bf16_weight_gradient(grad: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::wide_matmul(Self::float_transpose(grad), x)
    }
}

#[cfg(feature = "flex")]
impl MatmulKernels for Flex {}

#[cfg(feature = "ndarray")]
impl MatmulKernels for NdArray {}

/// `[.., m, k] · [.., k, n]` is `[.., m, n]`, in f32.
#[cfg(feature = "fusion")]
fn product(lhs: &TensorSpec, rhs: &TensorSpec) -> TensorSpec {
    let mut output = TensorSpec::new(lhs.shape.clone(), DType::F32);
    let last = output.shape.num_dims() - 1;
    output.shape[last] = rhs.shape[last];
    output
}

/// `[n, k] · [m, k]ᵀ` is `[n, m]`, in f32.
#[cfg(feature = "fusion")]
fn projection(x: &TensorSpec, weight: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[0], weight.shape[0]]), DType::F32)
}

#[derive(Debug)]
struct Product;

impl<B: MatmulKernels> Backward<B, 2> for Product {
    type State = [FloatTensor<B>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [of_lhs, of_rhs] = ops.parents;
        let [lhs, rhs] = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = of_lhs {
            let found = B::full_matmul(grad.clone(), B::float_transpose(rhs));
            grads.register::<B>(node.id, found);
        }
        if let Some(node) = of_rhs {
            grads.register::<B>(node.id, B::full_matmul(B::float_transpose(lhs), grad));
        }
    }
}

#[derive(Debug)]
struct Projection;

impl<B: MatmulKernels> Backward<B, 2> for Projection {
    /// `x` in bf16 where the weight wants its gradient, and the other way round the weight, of which nothing is copied.
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [of_x, of_weight] = ops.parents;
        let (x, weight) = ops.state;
        let grad = cast::<B>(grads.consume::<B>(&ops.node), DType::BF16);
        if let (Some(node), Some(weight)) = (of_x, weight) {
            grads.register::<B>(node.id, B::bf16_input_gradient(grad.clone(), weight));
        }
        if let (Some(node), Some(x)) = (of_weight, x) {
            grads.register::<B>(node.id, B::bf16_weight_gradient(grad, x));
        }
    }
}

impl<B: MatmulKernels, C: CheckpointStrategy> MatmulKernels for Autodiff<B, C> {
    fn full_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Product
            .prepare::<C>([lhs.node(), rhs.node()])
            .compute_bound()
            .stateful();
        let (lhs, rhs) = (lhs.into_primitive(), rhs.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => {
                let output = B::full_matmul(lhs.clone(), rhs.clone());
                prepared.finish([lhs, rhs], output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::full_matmul(lhs, rhs)),
        }
    }

    fn bf16_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Projection
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let needs_x = weight.is_tracked();
        let needs_weight = x.is_tracked();
        let (x, weight) = (
            cast::<B>(x.into_primitive(), DType::BF16),
            weight.into_primitive(),
        );
        let output = B::bf16_linear(x.clone(), weight.clone());
        match prepared {
            OpsKind::Tracked(prepared) => {
                prepared.finish((needs_x.then_some(x), needs_weight.then_some(weight)), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
