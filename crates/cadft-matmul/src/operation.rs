//! The product as an operation of every backend, with its backward pass.
//!
//! ```text
//! y = a b          ∂a = ∂y bᵀ          ∂b = aᵀ ∂y
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
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, backend_extension};

/// A product whose factors keep the digits of f32.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub trait FullMatmul: Backend {
    /// `lhs · rhs`; the backends with the default body have no TF32.
    #[fusion(meta = |lhs, rhs| product(lhs, rhs))]
    fn full_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(lhs, rhs)
    }
}

#[cfg(feature = "flex")]
impl FullMatmul for Flex {}

#[cfg(feature = "ndarray")]
impl FullMatmul for NdArray {}

/// `[.., m, k] · [.., k, n]` is `[.., m, n]`.
#[cfg(feature = "fusion")]
fn product(
    lhs: &burn::backend::fusion::custom::TensorSpec,
    rhs: &burn::backend::fusion::custom::TensorSpec,
) -> burn::backend::fusion::custom::TensorSpec {
    let mut output = lhs.clone();
    let last = output.shape.num_dims() - 1;
    output.shape[last] = rhs.shape[last];
    output
}

#[derive(Debug)]
struct Product;

impl<B: FullMatmul> Backward<B, 2> for Product {
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

impl<B: FullMatmul, C: CheckpointStrategy> FullMatmul for Autodiff<B, C> {
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
}
