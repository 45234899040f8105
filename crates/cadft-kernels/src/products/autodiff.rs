//! The backward passes of the products.
//!
//! ```text
//! y = a b          ∂a = ∂y bᵀ          ∂b = aᵀ ∂y
//! y = x Wᵀ         ∂x = ∂y W           ∂W = ∂yᵀ x          all factors rounded to bf16, ∂y too; all sums f32
//! ```

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::kernels::MatmulKernels;
use super::operations::MatmulOperations;

#[derive(Debug)]
struct Product;

impl<B: MatmulKernels> Backward<B, 2> for Product {
    type State = [FloatTensor<B>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [of_lhs, of_rhs] = ops.parents;
        let [lhs, rhs] = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = of_lhs {
            let found = B::full_product(grad.clone(), B::float_transpose(rhs));
            grads.register::<B>(node.id, found);
        }
        if let Some(node) = of_rhs {
            grads.register::<B>(node.id, B::full_product(B::float_transpose(lhs), grad));
        }
    }
}

#[derive(Debug)]
struct Projection;

impl<B: MatmulKernels> Backward<B, 2> for Projection {
    /// `x` in bf16 if the weight needs its gradient; the weight, not copied, if `x` needs its gradient.
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [of_x, of_weight] = ops.parents;
        let (x, weight) = ops.state;
        let grad = B::bf16_factor(grads.consume::<B>(&ops.node));
        if let (Some(node), Some(weight)) = (of_x, weight) {
            grads.register::<B>(node.id, B::bf16_input_gradient(grad.clone(), weight));
        }
        if let (Some(node), Some(x)) = (of_weight, x) {
            grads.register::<B>(node.id, B::bf16_weight_gradient(grad, x));
        }
    }
}

impl<B: MatmulKernels, C: CheckpointStrategy> MatmulOperations for Autodiff<B, C> {
    fn full_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Product
            .prepare::<C>([lhs.node(), rhs.node()])
            .compute_bound()
            .stateful();
        let (lhs, rhs) = (lhs.into_primitive(), rhs.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => {
                let output = B::full_product(lhs.clone(), rhs.clone());
                prepared.finish([lhs, rhs], output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::full_product(lhs, rhs)),
        }
    }

    fn bf16_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Projection
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let needs_x = weight.is_tracked();
        let needs_weight = x.is_tracked();
        let (x, weight) = (B::bf16_factor(x.into_primitive()), weight.into_primitive());
        let output = B::bf16_projection(x.clone(), weight.clone());
        match prepared {
            OpsKind::Tracked(prepared) => {
                prepared.finish((needs_x.then_some(x), needs_weight.then_some(weight)), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
